//! Whether a session lives, as its guards see it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{OnceLock, PoisonError};
use std::task::Waker;

use super::sync::{AtomicU64, Mutex, MutexGuard};
use super::thread::guarded;
use crate::engine::machine::event::Moment;
use crate::error::Error;

/// Ends once, and says why to everybody who asks, then and later.
#[derive(Default)]
pub(crate) struct Life {
    /// Set under the lock of `watchers`, together with taking them: whoever watched before the end
    /// hears of it, whoever stopped watching before it does not.
    end: OnceLock<Error>,
    pid: OnceLock<i32>,
    /// Until when guards may believe in their locks without asking the machine, in nanoseconds of
    /// the engine's clock.
    confirmed: AtomicU64,
    watchers: Mutex<Watchers>,
}

/// A function that a guard wants to be called when its lock is lost.
pub(crate) type OnLoss = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Watchers {
    next: u64,
    functions: BTreeMap<(WatcherId, u64), OnLoss>,
    wakers: BTreeMap<WatcherId, Waker>,
}

/// Somebody who wants to hear of the end of the session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct WatcherId(u64);

/// What is to be done about an end, once no lock of the engine is held.
#[must_use]
#[derive(Default)]
pub(crate) struct Aftermath {
    pub(crate) functions: Vec<OnLoss>,
    pub(crate) wakers: Vec<Waker>,
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

    /// Ends the life; a second end does nothing.
    pub(crate) fn end(&self, error: Error) -> Aftermath {
        let mut watchers = self.lock();
        if self.end.set(error).is_err() {
            return Aftermath::default();
        }
        let functions = std::mem::take(&mut watchers.functions).into_values().collect();
        let wakers = std::mem::take(&mut watchers.wakers).into_values().collect();
        Aftermath { functions, wakers }
    }

    pub(crate) fn new_watcher(&self) -> WatcherId {
        let mut watchers = self.lock();
        watchers.next += 1;
        WatcherId(watchers.next)
    }

    /// Keeps the function until the session ends. Hands it back if the session has ended.
    pub(crate) fn watch(&self, id: WatcherId, on_loss: OnLoss) -> Option<OnLoss> {
        let mut watchers = self.lock();
        if self.has_ended() {
            return Some(on_loss);
        }
        watchers.next += 1;
        let place = (id, watchers.next);
        watchers.functions.insert(place, on_loss);
        None
    }

    /// Wakes when the session ends. True if it has ended.
    pub(crate) fn wake_at_end(&self, id: WatcherId, waker: Waker) -> bool {
        let mut watchers = self.lock();
        if self.has_ended() {
            return true;
        }
        let former = watchers.wakers.insert(id, waker);
        // Foreign code: it must find the lock free.
        drop(watchers);
        guarded(|| drop(former));
        false
    }

    pub(crate) fn stop_watching(&self, id: WatcherId) {
        let mut watchers = self.lock();
        let mut functions = Vec::new();
        while let Some((&place, _)) = watchers.functions.range((id, 0)..=(id, u64::MAX)).next() {
            functions.extend(watchers.functions.remove(&place));
        }
        let waker = watchers.wakers.remove(&id);
        drop(watchers);
        // What the application put into them may panic as it is dropped.
        functions.into_iter().for_each(|function| {
            guarded(|| drop(function));
        });
        guarded(|| drop(waker));
    }

    fn lock(&self) -> MutexGuard<'_, Watchers> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why it has ended.
    pub(crate) fn reason(&self) -> Option<&Error> {
        self.end.get()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.end.get().is_some()
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
