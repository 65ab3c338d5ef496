//! Chooses the session for an errand that the server answers at once.

use super::{Role, Sessions};
use crate::engine::machine::event::SessionId;
use crate::engine::machine::step::Step;

/// One is answered while the other is being sent a request: with more, client and server would not
/// be busier.
const BUSY_SESSIONS: usize = 2;

impl Sessions {
    /// The session for errands that the server answers at once. Plans one if there is none.
    ///
    /// As long as there are few keys, one session holds them and sends them together. While it has
    /// more errands than it can soon send, another session takes the rest.
    pub(crate) fn shared(&mut self, step: &mut Step<'_>) -> SessionId {
        let config = &self.config;
        let all = || self.of_role(Role::Shared);
        let roomy = || all().filter(|(_, s)| s.is_usable() && s.load() < config.keys_per_session);
        let open = || roomy().filter(|(_, s)| s.is_open());
        if let Some((id, _)) = open().find(|(_, s)| s.queued() < config.crowd) {
            return id;
        }
        if let Some((id, _)) = open().min_by_key(|(_, s)| s.queued()) {
            // The caller does not wait until that session is open.
            self.one_more_shared(config.max_shared_sessions.min(BUSY_SESSIONS), step);
            return id;
        }
        if let Some((id, _)) = roomy().next() {
            return id;
        }
        if all().count() < config.max_shared_sessions {
            return self.plan(Role::Shared, step);
        }
        let usable = all().filter(|(_, s)| s.is_usable());
        match usable.min_by_key(|(_, s)| s.load()) {
            Some((id, _)) => id,
            None => self.plan(Role::Shared, step),
        }
    }

    /// Whether another shared session is being opened. Plans one if there are fewer than `bound`.
    pub(crate) fn one_more_shared(&mut self, bound: usize, step: &mut Step<'_>) -> bool {
        if self.has_just_failed(step.now) {
            return false;
        }
        let shared = || self.of_role(Role::Shared);
        if shared().all(|(_, s)| s.is_open()) {
            if shared().count() >= bound {
                return false;
            }
            self.plan(Role::Shared, step);
        }
        true
    }
}
