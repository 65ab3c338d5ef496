//! Releases whose lock stays at the server: the session's next answer acknowledges them.

use super::Sessions;
use crate::engine::machine::event::{CallerId, Effect, SessionId};
use crate::engine::machine::step::Step;
use crate::error::Error;
use crate::key::LockKey;

impl Sessions {
    /// No unlock will be sent whose answer could acknowledge this release. Answers to earlier
    /// requests do not prove anything about it.
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
        if session.await_acknowledgement(releaser, key) && session.is_idle() {
            step.push(Effect::Kick(id));
        }
    }

    /// The caller no longer waits for the acknowledgement.
    pub(crate) fn forget_releaser(&mut self, releaser: CallerId) {
        for session in self.table.values_mut() {
            session.forget_releaser(releaser);
        }
    }
}
