//! Releases of locks that stay with their session: whatever the session answers next acknowledges
//! them.

use super::Sessions;
use crate::engine::machine::event::{CallerId, Effect, Outcome, SessionId};
use crate::engine::machine::step::Step;
use crate::error::Error;
use crate::key::LockKey;

/// Callers who wait for a sign that a session still lived when they released their locks.
#[derive(Debug, Default)]
pub(crate) struct Acknowledgements {
    /// Nothing has been sent to the session since these callers released.
    unsent: Vec<(CallerId, LockKey)>,
    /// The answer to what was sent last is for these.
    sent: Vec<(CallerId, LockKey)>,
}

impl Sessions {
    /// No unlock is to be sent whose answer would acknowledge this release. An answer to something
    /// that was sent before says nothing about it.
    pub(crate) fn acknowledge_release(
        &mut self,
        id: SessionId,
        releaser: CallerId,
        key: LockKey,
        step: &mut Step<'_>,
    ) {
        let Some(session) = self.table.get_mut(&id) else {
            return step.fail(releaser, key, &Error::lost());
        };
        session.acknowledgements.unsent.push((releaser, key));
        let is_first = session.acknowledgements.unsent.len() == 1 && session.outbox.is_empty();
        if is_first && session.is_idle() {
            step.push(Effect::Kick(id));
        }
    }

    /// The caller does not wait for the acknowledgement any more.
    pub(crate) fn forget_releaser(&mut self, releaser: CallerId) {
        for session in self.table.values_mut() {
            session.acknowledgements.unsent.retain(|(id, _)| *id != releaser);
            session.acknowledgements.sent.retain(|(id, _)| *id != releaser);
        }
    }
}

impl Acknowledgements {
    /// Something is sent to the session.
    pub(crate) fn note_sent(&mut self) {
        self.sent.append(&mut self.unsent);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.unsent.is_empty() && self.sent.is_empty()
    }

    /// Whether something must be sent for them.
    pub(crate) fn want_answer(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// The session has answered what was sent last.
    pub(super) fn resolve(&mut self, step: &mut Step<'_>) {
        for (releaser, _) in self.sent.drain(..) {
            step.resolve(releaser, Outcome::Released);
        }
    }

    /// The session has ended.
    pub(crate) fn fail(&mut self, step: &mut Step<'_>) {
        for (releaser, key) in self.sent.drain(..).chain(self.unsent.drain(..)) {
            step.fail(releaser, key, &Error::lost());
        }
    }
}
