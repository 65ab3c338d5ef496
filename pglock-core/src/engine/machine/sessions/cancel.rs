//! Cancelling a wait. Until the cancel is answered, the session must run nothing else that it could
//! hit. If the role may not cancel, the connection of the waiting session is closed instead.

use std::time::Duration;

use super::{Errand, Session, Sessions, Timer};
use crate::engine::machine::config::WaitStrategy;
use crate::engine::machine::event::{Effect, SessionId};
use crate::engine::machine::step::Step;
use crate::error::Error;

/// The pause between two cancels of the same wait.
const CANCEL_PAUSE: Duration = Duration::from_millis(20);

impl Sessions {
    /// Whether waits can be cancelled, as far as is known.
    fn can_cancel(&self) -> bool {
        self.server.is_none_or(|server| server.can_cancel)
    }

    /// Whether to wait in the server's queue for locks of other processes. A wait that cannot be
    /// cancelled should not begin.
    pub(crate) fn waits_in_queue(&self) -> bool {
        self.config.wait_strategy == WaitStrategy::Queue && self.can_cancel()
    }

    /// Cancels at the server what the session is doing.
    pub(crate) fn cancel(&mut self, target: SessionId, step: &mut Step<'_>) {
        if !self.can_cancel() {
            return self.drop_wait(target, step);
        }
        let via = self.shared(step);
        let timeout = self.config.cancel_timeout;
        let Some(session) = self.table.get_mut(&target) else {
            return;
        };
        if session.cancel_begins(step.now) {
            self.timers.set(Timer::CancelTimeout(target), step.now + timeout);
        }
        let pid = session.pid();
        self.push(via, Errand::Cancel { target, pid }, step);
    }

    pub(crate) fn cancel_answered(&mut self, target: SessionId, step: &mut Step<'_>) {
        let Some(session) = self.table.get_mut(&target) else {
            return;
        };
        session.cancel_ends();
        if session.is_being_cancelled() {
            // The cancel may have arrived before the wait began, and had no effect.
            self.timers.set(Timer::CancelAgain(target), step.now + CANCEL_PAUSE);
        } else {
            step.push(Effect::Kick(target));
        }
    }

    /// Whether a cancel that is about to be sent still makes sense.
    pub(crate) fn may_be_cancelled(&mut self, target: SessionId, step: &mut Step<'_>) -> bool {
        if !self.can_cancel() {
            self.cancel_not_sent(target, step);
            return false;
        }
        // After a session has ended, its pid may belong to another one.
        self.table.contains_key(&target)
    }

    /// The server refused to cancel, and would do so again.
    pub(crate) fn cancel_refused(
        &mut self,
        via: SessionId,
        target: SessionId,
        error: &Error,
        step: &mut Step<'_>,
    ) {
        if let Some(server) = &mut self.server
            && std::mem::replace(&mut server.can_cancel, false)
        {
            step.push(Effect::CancelRefused { session: via, error: error.clone() });
        }
        self.cancel_not_sent(target, step);
    }

    fn cancel_not_sent(&mut self, target: SessionId, step: &mut Step<'_>) {
        let Some(session) = self.table.get_mut(&target) else {
            return;
        };
        session.cancel_ends();
        if session.is_being_cancelled() {
            self.drop_wait(target, step);
        } else {
            step.push(Effect::Kick(target));
        }
    }

    /// Closes the connection of a session whose wait cannot be cancelled.
    fn drop_wait(&mut self, target: SessionId, step: &mut Step<'_>) {
        if let Some(session) = self.table.get_mut(&target) {
            session.close();
            step.push(Effect::Abort(target));
        }
    }

    pub(crate) fn cancel_again(&mut self, target: SessionId, step: &mut Step<'_>) {
        let session = self.table.get(&target);
        if session.is_some_and(|s| s.is_being_cancelled() && !s.is_aimed_at()) {
            self.cancel(target, step);
        }
    }

    pub(crate) fn cancel_timed_out(&mut self, target: SessionId, step: &mut Step<'_>) {
        if self.table.get(&target).is_some_and(Session::is_being_cancelled) {
            step.push(Effect::Abort(target));
        }
    }

    /// The session that was to cancel this one has ended.
    pub(crate) fn cancel_vanished(
        &mut self,
        target: SessionId,
        was_sent: bool,
        step: &mut Step<'_>,
    ) {
        let Some(session) = self.table.get_mut(&target) else {
            return;
        };
        session.cancel_ends();
        if was_sent {
            session.doom();
        }
        if session.is_being_cancelled() {
            self.cancel(target, step);
        } else {
            step.push(Effect::Kick(target));
        }
    }
}
