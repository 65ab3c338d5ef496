//! Releases of locks that stay with their session: they are confirmed by whatever the session
//! answers next.

use super::{Phase, Session, Sessions};
use crate::engine::machine::event::{Effect, Moment, Outcome, SessionId, WaiterId};
use crate::engine::machine::step::Step;
use crate::error::Error;
use crate::key::LockKey;

/// Those who wait to hear that a session still lived when they released their locks.
#[derive(Debug, Default)]
pub(crate) struct Confirms {
    next: Vec<(WaiterId, LockKey)>,
    /// Something has been sent to the session since.
    sent: Vec<(WaiterId, LockKey)>,
}

impl Sessions {
    /// No unlock is to be sent that would confirm this release. An answer to something that was
    /// sent before says nothing about it.
    pub(crate) fn confirm_release(
        &mut self,
        id: SessionId,
        waiter: WaiterId,
        key: LockKey,
        step: &mut Step<'_>,
    ) {
        let Some(session) = self.table.get_mut(&id) else {
            return step.fail(waiter, key, &Error::lost());
        };
        session.confirms.next.push((waiter, key));
        let is_first = session.confirms.next.len() == 1 && session.outbox.is_empty();
        if is_first && matches!(session.phase, Phase::Idle) {
            step.push(Effect::Kick(id));
        }
    }

    pub(crate) fn forget_confirm(&mut self, waiter: WaiterId) {
        for session in self.table.values_mut() {
            session.confirms.next.retain(|(id, _)| *id != waiter);
            session.confirms.sent.retain(|(id, _)| *id != waiter);
        }
    }
}

impl Session {
    /// Something is sent to the session.
    pub(crate) fn sends(&mut self, now: Moment) {
        self.sent = now;
        self.confirms.sent.append(&mut self.confirms.next);
    }
}

impl Confirms {
    pub(crate) fn is_empty(&self) -> bool {
        self.next.is_empty() && self.sent.is_empty()
    }

    /// Whether something must be sent for them.
    pub(crate) fn want_answer(&self) -> bool {
        !self.next.is_empty()
    }

    pub(super) fn resolve(&mut self, step: &mut Step<'_>) {
        for (waiter, _) in self.sent.drain(..) {
            step.resolve(waiter, Outcome::Released);
        }
    }

    pub(crate) fn fail(&mut self, step: &mut Step<'_>) {
        for (waiter, key) in self.sent.drain(..).chain(self.next.drain(..)) {
            step.fail(waiter, key, &Error::lost());
        }
    }
}
