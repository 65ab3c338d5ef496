//! Finds a session that can probe whether a writer of another process waits.

use super::{Role, Session, Sessions};
use crate::engine::machine::event::{Moment, SessionId};
use crate::engine::machine::step::Step;

impl Sessions {
    /// An open session whose probe for a key held by `holders` would be reliable.
    pub(crate) fn for_probe(&self, holders: impl Fn(SessionId) -> bool) -> Option<SessionId> {
        let answers = |s: &Session| s.is_at_hand() || s.is_running();
        let mut shared = self.of_role(Role::Shared);
        shared.find(|(id, s)| s.is_usable() && answers(s) && !holders(*id)).map(|(id, _)| id)
    }

    /// Whether another shared session will soon be open. Plans one if there is room.
    pub(crate) fn may_probe(&mut self, step: &mut Step<'_>) -> bool {
        self.one_more_shared(self.config.max_shared_sessions, step)
    }

    /// Whether an attempt to connect has failed, so that the next one must wait.
    pub(crate) fn has_just_failed(&self, now: Moment) -> bool {
        now < self.not_before
    }
}
