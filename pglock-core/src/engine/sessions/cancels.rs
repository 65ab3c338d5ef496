//! Cancelling a wait: until the cancel has been answered, nothing else of the session may be hit by
//! it.

use std::cmp::Reverse;
use std::time::Duration;

use super::{Alarm, Op, Sessions};
use crate::engine::event::{Effect, Effects, Moment, SessionId};

/// Between two cancels of the same wait.
const CANCEL_PAUSE: Duration = Duration::from_millis(20);

impl Sessions {
    /// Cancels at the server what the session is doing.
    pub(crate) fn cancel(&mut self, target: SessionId, now: Moment, fx: &mut Effects) {
        let via = self.shared(now, fx);
        let timeout = self.limits.cancel_timeout;
        let Some(session) = self.table.get_mut(&target) else {
            return;
        };
        session.cancels += 1;
        if session.cancel_since.is_none() {
            session.cancel_since = Some(now);
            self.alarms.push(Reverse((now + timeout, Alarm::CancelAgain(target))));
        }
        let pid = session.pid;
        self.push(via, Op::Cancel { target, pid }, fx);
    }

    pub(crate) fn cancel_answered(&mut self, target: SessionId, now: Moment, fx: &mut Effects) {
        let Some(session) = self.table.get_mut(&target) else {
            return;
        };
        session.cancels -= 1;
        if session.is_being_cancelled() {
            // It may have come before the wait had begun, and is forgotten then.
            self.alarm_at(now + CANCEL_PAUSE, Alarm::CancelAgain(target));
        } else {
            fx.push(Effect::Kick(target));
        }
    }

    pub(crate) fn cancel_again(&mut self, target: SessionId, now: Moment, fx: &mut Effects) {
        let timeout = self.limits.cancel_timeout;
        let Some(session) = self.table.get_mut(&target) else {
            return;
        };
        match session.cancel_since {
            Some(since) if session.is_being_cancelled() && now >= since + timeout => {
                fx.push(Effect::Abort(target));
            }
            Some(_) if session.is_being_cancelled() && session.cancels == 0 => {
                self.cancel(target, now, fx);
            }
            _ => {}
        }
    }

    /// The session that was to cancel this one has gone.
    pub(crate) fn cancel_vanished(
        &mut self,
        target: SessionId,
        was_sent: bool,
        now: Moment,
        fx: &mut Effects,
    ) {
        let Some(session) = self.table.get_mut(&target) else {
            return;
        };
        session.cancels -= 1;
        session.doomed |= was_sent;
        if session.is_being_cancelled() {
            self.cancel(target, now, fx);
        } else {
            fx.push(Effect::Kick(target));
        }
    }
}
