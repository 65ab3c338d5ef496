//! Callers who wait for a sign that the session still lived when they released their locks.

use super::Session;
use crate::engine::machine::event::{CallerId, Outcome};
use crate::engine::machine::step::Step;
use crate::error::Error;
use crate::key::LockKey;

#[derive(Debug, Default)]
pub(super) struct Acknowledgements {
    /// Nothing has been sent to the session since these callers released.
    unsent: Vec<(CallerId, LockKey)>,
    /// The answer to what was sent last is for these.
    sent: Vec<(CallerId, LockKey)>,
}

impl Acknowledgements {
    /// Something is sent to the session.
    pub(super) fn note_sent(&mut self) {
        self.sent.append(&mut self.unsent);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unsent.is_empty() && self.sent.is_empty()
    }
}

impl Session {
    /// The caller waits until the session answers something that is sent from now on. True if
    /// nothing else is to be sent to it.
    pub(crate) fn await_acknowledgement(&mut self, releaser: CallerId, key: LockKey) -> bool {
        self.acknowledgements.unsent.push((releaser, key));
        self.acknowledgements.unsent.len() == 1 && self.outbox.is_empty()
    }

    /// Whether something must be sent to it for callers who wait.
    pub(crate) fn wants_acknowledgement(&self) -> bool {
        !self.acknowledgements.unsent.is_empty()
    }

    /// The caller does not wait any more.
    pub(crate) fn forget_releaser(&mut self, releaser: CallerId) {
        self.acknowledgements.unsent.retain(|(id, _)| *id != releaser);
        self.acknowledgements.sent.retain(|(id, _)| *id != releaser);
    }

    /// The session has answered what was sent last.
    pub(crate) fn acknowledge(&mut self, step: &mut Step<'_>) {
        for (releaser, _) in self.acknowledgements.sent.drain(..) {
            step.resolve(releaser, Outcome::Released);
        }
    }

    /// The session has ended.
    pub(crate) fn fail_acknowledgements(&mut self, step: &mut Step<'_>) {
        let Acknowledgements { unsent, sent } = &mut self.acknowledgements;
        for (releaser, key) in sent.drain(..).chain(unsent.drain(..)) {
            step.fail(releaser, key, &Error::lost());
        }
    }
}
