//! Finds out why a caller did not get its lock in time.

use super::Machine;
use crate::engine::machine::event::Moment;
use crate::engine::machine::key::KeyState;
use crate::error::Error;
use crate::key::LockKey;

/// What kept the caller from the lock.
#[derive(Debug)]
pub(crate) enum Obstacle {
    /// The lock: another caller or process has it, or had it when the server was last asked.
    Busy,
    /// The server has answered nothing since the caller arrived.
    Silence,
    /// There is no open session.
    NotConnected(Error),
}

impl Machine {
    /// What keeps the callers for a key waiting; the server, if it has answered nothing since then.
    pub(crate) fn obstacle(&self, key: LockKey, since: Moment) -> Obstacle {
        let state = self.keys.get(&key);
        // The key has no state, so the lock was released too late for this caller.
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

    /// Why a check was not answered in time.
    pub(crate) fn silence(&self) -> Error {
        match self.sessions.is_connected() {
            true => Error::unanswered(),
            false => self.sessions.why_not_connected(),
        }
    }
}
