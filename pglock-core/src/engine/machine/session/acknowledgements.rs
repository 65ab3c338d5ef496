//! Callers that have released a lock and wait for proof that the session was still alive.

use super::Session;
use crate::engine::machine::event::{CallerId, Outcome};
use crate::engine::machine::step::Step;
use crate::error::Error;
use crate::key::LockKey;

#[derive(Debug, Default)]
pub(super) struct Acknowledgements {
    /// No request has been sent since these callers released.
    unsent: Vec<(CallerId, LockKey)>,
    /// The answer to the last request acknowledges these.
    sent: Vec<(CallerId, LockKey)>,
}

impl Acknowledgements {
    /// A request is sent to the session.
    pub(super) fn note_sent(&mut self) {
        self.sent.append(&mut self.unsent);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unsent.is_empty() && self.sent.is_empty()
    }
}

impl Session {
    /// The caller waits for the answer to any request that is sent from now on. Returns true if no
    /// other request is due.
    pub(crate) fn await_acknowledgement(&mut self, releaser: CallerId, key: LockKey) -> bool {
        self.acknowledgements.unsent.push((releaser, key));
        self.acknowledgements.unsent.len() == 1 && self.outbox.is_empty()
    }

    /// Whether a request must be sent for waiting callers.
    pub(crate) fn wants_acknowledgement(&self) -> bool {
        !self.acknowledgements.unsent.is_empty()
    }

    /// The caller no longer waits.
    pub(crate) fn forget_releaser(&mut self, releaser: CallerId) {
        self.acknowledgements.unsent.retain(|(id, _)| *id != releaser);
        self.acknowledgements.sent.retain(|(id, _)| *id != releaser);
    }

    /// The session has answered the last request.
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
