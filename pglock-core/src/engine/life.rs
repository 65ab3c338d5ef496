use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{OnceLock, PoisonError};

use tokio::sync::Notify;

use super::event::Moment;
use super::sync::{AtomicU64, Mutex, MutexGuard};
use crate::error::Error;

/// Whether a session lives, as its guards see it. Ends once, and says why to everybody who asks,
/// then and later.
#[derive(Default)]
pub(crate) struct Life {
    end: OnceLock<Error>,
    ended: Notify,
    pid: OnceLock<i32>,
    /// Until when guards may believe in their locks without asking the machine, in nanoseconds of
    /// the engine's clock.
    confirmed: AtomicU64,
    listeners: Mutex<Listeners>,
}

/// What a guard wants to be done when its lock is lost.
pub(crate) type OnLoss = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Listeners {
    next: u64,
    waiting: Vec<(ListenerId, OnLoss)>,
}

/// A guard that wants something to be done when the session ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ListenerId(u64);

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

    /// Gives what is to be done now, once and without a lock of the engine.
    #[must_use]
    pub(crate) fn end(&self, error: Error) -> Vec<OnLoss> {
        if self.end.set(error).is_err() {
            return Vec::new();
        }
        self.ended.notify_waiters();
        let waiting = std::mem::take(&mut self.listeners().waiting);
        waiting.into_iter().map(|(_, on_loss)| on_loss).collect()
    }

    pub(crate) fn new_listener(&self) -> ListenerId {
        let mut listeners = self.listeners();
        listeners.next += 1;
        ListenerId(listeners.next)
    }

    /// Does it when the session ends; at once if it has ended.
    pub(crate) fn listen(&self, id: ListenerId, on_loss: OnLoss) {
        {
            let mut listeners = self.listeners();
            // Looked at under the lock, so that no end comes in between.
            if !self.has_ended() {
                return listeners.waiting.push((id, on_loss));
            }
        }
        on_loss();
    }

    pub(crate) fn stop_listening(&self, id: ListenerId) {
        self.listeners().waiting.retain(|(listener, _)| *listener != id);
    }

    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why it has ended.
    pub(crate) fn reason(&self) -> Option<&Error> {
        self.end.get()
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
