//! Who holds and who waits, as the server sees it.

use super::State;
use crate::engine::event::{Effect, Effects, Moment, Outcome, SessionId, WaiterId};
use crate::engine::sessions::{Phase, Session};
use crate::error::Error;
use crate::key::LockKey;
use crate::looking::LockEntry;

impl State {
    pub(super) fn look(
        &mut self,
        waiter: WaiterId,
        key: Option<LockKey>,
        now: Moment,
        fx: &mut Effects,
    ) {
        if self.closed {
            return fx.resolve(waiter, Outcome::Failed(Error::closed()));
        }
        let id = self.sessions.shared(now, fx);
        if let Some(session) = self.sessions.get_mut(id) {
            session.looks.push((waiter, key));
            if matches!(session.phase, Phase::Idle) {
                fx.push(Effect::Kick(id));
            }
        }
    }

    pub(super) fn look_away(&mut self, waiter: WaiterId) {
        for id in self.sessions.ids() {
            if let Some(session) = self.sessions.get_mut(id) {
                session.looks.retain(|(looking, _)| *looking != waiter);
                if let Phase::Looking(looks) = &mut session.phase {
                    looks.retain(|(looking, _)| *looking != waiter);
                }
            }
        }
    }

    pub(super) fn seen(
        &mut self,
        id: SessionId,
        locks: &[LockEntry],
        now: Moment,
        fx: &mut Effects,
    ) {
        self.sessions.note_answer(id);
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let Phase::Looking(looks) = &mut session.phase else {
            return;
        };
        for (waiter, key) in std::mem::take(looks) {
            let wanted = |lock: &&LockEntry| key.is_none_or(|key| lock.key == key);
            let seen = locks.iter().filter(wanted).cloned().collect();
            fx.resolve(waiter, Outcome::Seen(seen));
        }
        self.sessions.confirm(id, now, fx);
        self.sessions.rest(id, now);
    }

    /// Tells those who wanted to look through a session that it could not be done.
    pub(super) fn fail_looks(session: &mut Session, error: &Error, fx: &mut Effects) {
        let mut looks = std::mem::take(&mut session.looks);
        if let Phase::Looking(looking) = &mut session.phase {
            looks.append(looking);
        }
        for (waiter, _) in looks {
            fx.resolve(waiter, Outcome::Failed(error.clone()));
        }
    }
}
