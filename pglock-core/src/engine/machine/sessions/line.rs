//! Sessions that wait for one key each, and the keys in line for them.

use super::{Place, Role, Session, Sessions, Timer};
use crate::engine::machine::event::{Effect, Moment, SessionId};
use crate::engine::machine::step::Step;

impl Sessions {
    /// An open waiting session that is idle and holds nothing.
    pub(crate) fn free_to_wait(&self) -> Option<SessionId> {
        self.table.iter().find(|(_, s)| s.is_free_to_wait()).map(|(id, _)| *id)
    }

    /// Whether a waiting session is free, or will be once it is connected.
    pub(crate) fn may_wait(&self) -> bool {
        self.waiting().any(Session::is_about_to_be_free)
            || self.at_hand() > self.line.len()
            || self.waiting().count() < self.config.max_waiting_sessions
    }

    pub(crate) fn leave_line(&mut self, place: Place) {
        self.line.remove(&place);
    }

    /// Plans waiting sessions for the keys in line, within the bound.
    pub(crate) fn grow_waiting(&mut self, step: &mut Step<'_>) {
        let room = self.config.max_waiting_sessions.saturating_sub(self.waiting().count());
        for _ in 0..room.min(self.line.len().saturating_sub(self.at_hand())) {
            self.plan(Role::Waiting, step);
        }
    }

    /// The number of waiting sessions that are free, or will be once they are connected or have
    /// answered.
    fn at_hand(&self) -> usize {
        self.waiting().filter(|s| s.is_about_to_be_free() || !s.is_open()).count()
    }

    fn waiting(&self) -> impl Iterator<Item = &Session> {
        self.of_role(Role::Waiting).map(|(_, session)| session)
    }

    /// A session has become idle. If it stays unused, it is closed after a while.
    pub(crate) fn rest(&mut self, id: SessionId, now: Moment) {
        let Some(session) = self.table.get_mut(&id) else {
            return;
        };
        session.begin_idle(now);
        // The timer is moved when it expires, like that of the lease.
        if session.grants() == 0 && !self.timers.is_set(Timer::CloseIdle(id)) {
            self.timers.set(Timer::CloseIdle(id), now + self.config.idle_timeout);
        }
    }

    pub(crate) fn close_if_idle(&mut self, id: SessionId, step: &mut Step<'_>) {
        let idle_timeout = self.config.idle_timeout;
        let soon = step.now + self.config.lease.heartbeat / 8;
        let shared = self.of_role(Role::Shared).filter(|(_, s)| s.is_open() && s.is_usable());
        let only_one = shared.count() == 1;
        // Waits are cancelled through the shared session, so it closes last.
        let may_disconnect = self.config.disconnect_when_idle;
        let is_unused = self.queued == 0 && self.table.len() == 1;
        let Some(session) = self.table.get_mut(&id) else {
            return;
        };
        let is_last = session.role() == Role::Shared && only_one;
        let may_close =
            (!is_last || may_disconnect) && session.is_at_hand() && session.grants() == 0;
        let due = session.idle_since() + idle_timeout;
        let is_idle = session.is_idle() && session.is_spare() && (!is_last || is_unused);
        if may_close && is_idle && step.now >= due {
            session.close();
            step.push(Effect::Kick(id));
        } else if may_close {
            // If it is due, the session may be waiting for the answer to a heartbeat, or may have
            // been in use for a moment. The last one may be needed for long.
            let overdue = is_last && step.now >= due;
            let next = if overdue { step.now + idle_timeout } else { due };
            self.timers.set(Timer::CloseIdle(id), next.max(soon));
        }
    }
}
