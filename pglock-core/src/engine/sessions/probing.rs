//! Sessions that can ask for another one whether a writer waits.

use super::{Phase, Role, Session, Sessions};
use crate::engine::event::{Effects, Moment, SessionId};

impl Sessions {
    /// A session, open now, on which the probe for a key held by `holders` means something.
    pub(crate) fn for_probe(&self, holders: impl Fn(SessionId) -> bool) -> Option<SessionId> {
        let answers = |s: &Session| s.is_at_hand() || matches!(s.phase, Phase::Running(_));
        let shared = self.table.iter().filter(|(_, s)| s.role == Role::Shared);
        let mut able = shared.filter(|(id, s)| answers(s) && !holders(**id));
        able.next().map(|(id, _)| *id)
    }

    /// Whether one more shared session will be there soon; plans it if there is room. While connecting fails, nobody is to wait for it.
    pub(crate) fn may_probe(&mut self, now: Moment, fx: &mut Effects) -> bool {
        if self.is_connecting_in_vain() {
            return false;
        }
        let shared = || self.table.values().filter(|s| s.role == Role::Shared);
        if shared().all(Session::is_open) {
            if shared().count() >= self.limits.shared_sessions {
                return false;
            }
            self.plan(Role::Shared, now, fx);
        }
        true
    }

    pub(crate) fn is_connecting_in_vain(&self) -> bool {
        self.failures > 0
    }
}
