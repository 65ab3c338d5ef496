use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use super::event::Moment;
use crate::error::Error;

/// Whether a session lives, as its guards see it. Ends once, and says why to everybody who asks, then and later.
#[derive(Default)]
pub(crate) struct Life {
    end: OnceLock<Error>,
    ended: Notify,
    pid: OnceLock<i32>,
    /// Until when guards may believe in their locks without asking the machine, in nanoseconds of the engine's clock.
    confirmed: AtomicU64,
}

impl Life {
    pub(crate) fn set_pid(&self, pid: i32) {
        // A session is opened once.
        let _ = self.pid.set(pid);
    }

    /// Backend pid at the server, once connected.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.pid.get().copied()
    }

    pub(crate) fn confirm(&self, until: Moment) {
        // Beyond 584 years.
        let until = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        self.confirmed.fetch_max(until, Ordering::Relaxed);
    }

    pub(crate) fn is_confirmed(&self, now: Moment) -> bool {
        now.as_nanos() < self.confirmed.load(Ordering::Relaxed).into()
    }

    pub(crate) fn end(&self, error: Error) {
        if self.end.set(error).is_ok() {
            self.ended.notify_waiters();
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.end.get().is_some()
    }

    /// Completes when the session has ended.
    pub(crate) async fn ended(&self) {
        let mut ended = std::pin::pin!(self.ended.notified());
        // Enlists before it looks, so that no end is missed.
        ended.as_mut().enable();
        if !self.has_ended() {
            ended.await;
        }
    }
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Life")
            .field("pid", &self.pid())
            .field("has_ended", &self.has_ended())
            .finish()
    }
}
