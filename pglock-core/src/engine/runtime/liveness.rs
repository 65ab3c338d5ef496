//! Whether a session lives, as the guards of its locks see it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{OnceLock, PoisonError};
use std::task::Waker;

use super::sync::{AtomicU64, Mutex, MutexGuard};
use super::thread::catch_panic;
use crate::engine::machine::event::Moment;
use crate::error::Error;

/// Shared by the session and its guards. It ends once, and keeps the reason.
#[derive(Default)]
pub(crate) struct Liveness {
    /// Set under the mutex of `watchers`, in one step with taking them: whoever watches before the
    /// end is called, whoever has stopped watching is not.
    end: OnceLock<Error>,
    pid: OnceLock<i32>,
    /// How long guards may believe in their locks without asking the machine, in nanoseconds of the
    /// engine's clock.
    leased_until: AtomicU64,
    watchers: Mutex<Watchers>,
}

/// A function to call when a lock is lost.
pub(crate) type OnLoss = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Watchers {
    next: u64,
    functions: BTreeMap<(WatcherId, u64), OnLoss>,
    wakers: BTreeMap<WatcherId, Waker>,
}

/// One guard, or one future, that watches for the end of the session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct WatcherId(u64);

/// What to call when a session has ended, once no mutex is held.
#[must_use]
#[derive(Default)]
pub(crate) struct Callbacks {
    pub(crate) functions: Vec<OnLoss>,
    pub(crate) wakers: Vec<Waker>,
}

impl Liveness {
    pub(crate) fn set_pid(&self, pid: i32) {
        // A session is opened once.
        let _ = self.pid.set(pid);
    }

    /// The backend pid, once the session is open.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.pid.get().copied()
    }

    pub(crate) fn renew(&self, until: Moment) {
        // Saturates after 584 years.
        let until = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        self.leased_until.fetch_max(until, Ordering::Relaxed);
    }

    pub(crate) fn is_leased(&self, now: Moment) -> bool {
        now.as_nanos() < self.leased_until.load(Ordering::Relaxed).into()
    }

    /// Ends it; a second end does nothing.
    pub(crate) fn end(&self, error: Error) -> Callbacks {
        let mut watchers = self.lock();
        if self.end.set(error).is_err() {
            return Callbacks::default();
        }
        let functions = std::mem::take(&mut watchers.functions).into_values().collect();
        let wakers = std::mem::take(&mut watchers.wakers).into_values().collect();
        Callbacks { functions, wakers }
    }

    pub(crate) fn new_watcher(&self) -> WatcherId {
        let mut watchers = self.lock();
        watchers.next += 1;
        WatcherId(watchers.next)
    }

    /// Keeps the function until the session ends, or returns it if the session has ended.
    pub(crate) fn call_at_end(&self, id: WatcherId, on_loss: OnLoss) -> Option<OnLoss> {
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
        // Dropped outside the mutex: a waker is foreign code.
        drop(watchers);
        catch_panic(|| drop(former));
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
        // Dropping what the application put into them may panic.
        functions.into_iter().for_each(|function| {
            catch_panic(|| drop(function));
        });
        catch_panic(|| drop(waker));
    }

    fn lock(&self) -> MutexGuard<'_, Watchers> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the session has ended.
    pub(crate) fn reason(&self) -> Option<&Error> {
        self.end.get()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.end.get().is_some()
    }
}

impl fmt::Debug for Liveness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Liveness")
            .field("pid", &self.pid())
            .field("has_ended", &self.has_ended())
            .finish()
    }
}
