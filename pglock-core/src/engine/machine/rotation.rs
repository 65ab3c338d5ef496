//! Ends waits before the lock is free: to make room for other keys, or to begin anew.

use super::Machine;
use crate::engine::machine::event::SessionId;
use crate::engine::machine::step::Step;

impl Machine {
    pub(super) fn rotate(&mut self, step: &mut Step<'_>) {
        if self.sessions.line.is_empty() {
            return;
        }
        // A wait that cannot be cancelled makes no room.
        if !self.sessions.waits_in_queue() {
            return self.sessions.rotate_at(step.now + self.sessions.config.turn * 2);
        }
        self.sessions.promote_holders(step.now);
        let keys = &self.keys;
        let turns = |key| keys.get(&key).map_or(0, |state| state.turns);
        for turn in self.sessions.make_room(step.now, turns) {
            self.with(turn.key, step, |state, cx| state.make_room(turn, cx));
        }
    }

    /// The session has waited for long, and meanwhile the server keeps every dead row of the
    /// database. So the wait ends, and its key goes to the end of the line, from where it goes back
    /// to a free session at once.
    pub(super) fn renew_wait(&mut self, session: SessionId, step: &mut Step<'_>) {
        let key = self.sessions.get(session).and_then(|session| session.awaited());
        if let Some(key) = key {
            self.with(key, step, |state, cx| state.renew_wait(session, cx));
        }
    }
}
