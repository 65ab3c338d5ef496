//! Why a caller whose time has run out has not got its lock.

use super::Machine;
use crate::engine::machine::event::Moment;
use crate::engine::machine::key::KeyState;
use crate::error::Error;
use crate::key::LockKey;

/// What stood in the way.
#[derive(Debug)]
pub(crate) enum Obstacle {
    /// The lock: somebody else has it, or had it when the server was asked last.
    Busy,
    /// The server has answered nothing since the caller came.
    Silence,
    /// There is no session to ask.
    NotConnected(Error),
}

impl Machine {
    /// What stands in the way of the callers for a key that wait: the server, if it has answered
    /// nothing since then.
    pub(crate) fn obstacle(&self, key: LockKey, since: Moment) -> Obstacle {
        let state = self.keys.get(&key);
        // Without an entry, the lock has come too late for the caller.
        if state.is_none_or(KeyState::waits_behind_a_holder) {
            return Obstacle::Busy;
        }
        if !self.sessions.is_connected() {
            return Obstacle::NotConnected(self.sessions.why_not_connected());
        }
        let was_refused = state.is_some_and(KeyState::was_refused);
        match was_refused || self.sessions.has_answered_since(since) {
            true => Obstacle::Busy,
            false => Obstacle::Silence,
        }
    }

    /// Why a check has not been answered in time.
    pub(crate) fn silence(&self) -> Error {
        match self.sessions.is_connected() {
            true => Error::unanswered(),
            false => self.sessions.why_not_connected(),
        }
    }
}
