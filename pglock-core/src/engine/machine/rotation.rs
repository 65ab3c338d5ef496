//! Waits that make room for other keys.

use super::Machine;
use crate::engine::machine::step::Step;

impl Machine {
    pub(super) fn rotate(&mut self, step: &mut Step<'_>) {
        if self.sessions.line.is_empty() {
            return;
        }
        // What cannot be cancelled makes no room.
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
}
