//! Who holds and who waits, as the server sees it.

use super::Machine;
use crate::engine::machine::event::{Effect, Moment, Outcome, SessionId, WaiterId};
use crate::engine::machine::sessions::{Look, Onlooker, Phase};
use crate::engine::machine::step::Step;
use crate::error::Error;
use crate::key::LockKey;
use crate::looking::LockEntry;

impl Machine {
    pub(super) fn look(&mut self, waiter: WaiterId, key: Option<LockKey>, step: &mut Step<'_>) {
        if let Some(why) = &self.closed {
            return step.resolve(waiter, Outcome::Failed(why.clone()));
        }
        self.look_as(Onlooker::Caller(waiter), key, step);
    }

    /// One round trip, whatever else there is to ask.
    pub(super) fn check(&mut self, waiter: WaiterId, step: &mut Step<'_>) {
        if let Some(why) = &self.closed {
            return step.resolve(waiter, Outcome::Failed(why.clone()));
        }
        self.look_as(Onlooker::Check(waiter), None, step);
    }

    /// The session has answered those who checked.
    pub(super) fn checked(&mut self, id: SessionId, checks: Vec<Look>, step: &mut Step<'_>) {
        for (onlooker, _) in checks {
            if let Onlooker::Check(waiter) = onlooker {
                step.resolve(waiter, Outcome::Checked);
            }
        }
        self.sessions.note_answer(id, step);
        self.sessions.rest(id, step.now);
    }

    /// A session has waited for so long that its connection may have gone without a word, though
    /// others live. Another one sees whether the server knows of it.
    pub(super) fn look_for(&mut self, id: SessionId, step: &mut Step<'_>) {
        let key = self.sessions.is_to_be_looked_for(id, step.now);
        let is_asked =
            self.sessions.iter().any(|(_, s)| s.looks.contains(&(Onlooker::Wait(id), key)));
        if key.is_some() && !is_asked && self.closed.is_none() {
            self.look_as(Onlooker::Wait(id), key, step);
        }
    }

    fn look_as(&mut self, onlooker: Onlooker, key: Option<LockKey>, step: &mut Step<'_>) {
        let id = self.sessions.shared(step);
        if let Some(session) = self.sessions.get_mut(id) {
            session.looks.push((onlooker, key));
            if matches!(session.phase, Phase::Idle) {
                step.push(Effect::Kick(id));
            }
        }
    }

    pub(super) fn look_away(&mut self, waiter: WaiterId) {
        let gone = [Onlooker::Caller(waiter), Onlooker::Check(waiter)];
        let goes_on = |(looking, _): &Look| !gone.contains(looking);
        for id in self.sessions.ids() {
            if let Some(session) = self.sessions.get_mut(id) {
                session.looks.retain(goes_on);
                if let Phase::Looking(looks) = &mut session.phase {
                    looks.retain(goes_on);
                }
            }
        }
    }

    pub(super) fn seen(&mut self, id: SessionId, locks: &[LockEntry], step: &mut Step<'_>) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let Phase::Looking(looks) = &mut session.phase else {
            return;
        };
        let looked = session.sent;
        let mut missing = Vec::new();
        for (onlooker, key) in std::mem::take(looks) {
            let wanted = |lock: &&LockEntry| key.is_none_or(|key| lock.key == key);
            let seen = locks.iter().filter(wanted);
            match onlooker {
                Onlooker::Caller(waiter) => {
                    let told = seen.map(|lock| self.told(lock)).collect();
                    step.resolve(waiter, Outcome::Seen(told));
                }
                Onlooker::Wait(id) => missing.extend(self.missing(id, key, seen, looked)),
                // Asked apart.
                Onlooker::Check(_) => {}
            }
        }
        self.sessions.note_answer(id, step);
        self.sessions.rest(id, step.now);
        for id in missing {
            self.give_up(id, &Error::silent(), step);
        }
    }

    /// A lock as callers see it, who want to know whether this process holds it.
    fn told(&self, lock: &LockEntry) -> LockEntry {
        let is_ours = self.sessions.iter().any(|(_, s)| s.is_open() && s.pid == lock.pid);
        LockEntry { is_ours, ..lock.clone() }
    }

    /// The session, if it waits for the key in vain: the server, asked at that time, did not know
    /// of it.
    fn missing<'a>(
        &self,
        id: SessionId,
        key: Option<LockKey>,
        mut seen: impl Iterator<Item = &'a LockEntry>,
        looked: Moment,
    ) -> Option<SessionId> {
        let session = self.sessions.get(id)?;
        // Its last wait, not another one since; and the server had all the time to hear of it.
        let waits = session.awaited() == key
            && session.has_waited_for(self.sessions.config.lease.client, looked);
        (waits && !seen.any(|lock| lock.pid == session.pid)).then_some(id)
    }

    /// Tells those who wanted to look through a session, or to check it, that it could not be done.
    pub(super) fn fail_looks(looks: Vec<Look>, error: &Error, step: &mut Step<'_>) {
        for (onlooker, _) in looks {
            // A session that waits is looked for again by and by.
            if let Onlooker::Caller(waiter) | Onlooker::Check(waiter) = onlooker {
                step.resolve(waiter, Outcome::Failed(error.clone()));
            }
        }
    }
}
