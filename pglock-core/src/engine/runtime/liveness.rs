//! Whether a session lives, as its guards see it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;

use super::sync::{AtomicBool, AtomicU64, Mutex, MutexGuard};
use super::thread::{call_aside, catch_panic};
use crate::engine::machine::event::Moment;
use crate::error::Error;

/// Shared by the session and its guards. It ends once, and keeps the reason.
#[derive(Default)]
pub(crate) struct Liveness {
    /// Set under the mutex of `watchers`, together with taking them: a watcher that registers
    /// before the end is called, and one that has left before is not.
    end: OnceLock<Error>,
    pid: OnceLock<i32>,
    /// Until when guards count as held without asking the machine, in nanoseconds of the engine's
    /// clock.
    leased_until: AtomicU64,
    watchers: Mutex<Watchers>,
}

/// A function to call when a lock is lost.
pub(crate) type OnLoss = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Watchers {
    last: Number,
    functions: BTreeMap<Place, OnLoss>,
    wakers: BTreeMap<Place, Waker>,
}

/// Numbers what a session hands out; no number is used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Number(u64);

/// Where a watcher keeps a function or waker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    watcher: Number,
    number: Number,
}

/// A guard that watches for the end of the session, with its leases.
pub(crate) struct Watcher {
    id: Number,
    /// Set under the mutex, and not if the session has ended, so each watcher sees exactly one of
    /// the two.
    left: AtomicBool,
}

impl Watcher {
    /// Whether its guard has released the lock before the session ended.
    pub(crate) fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }
}

/// What to call when a session has ended, once no mutex is held.
#[must_use]
#[derive(Default)]
pub(crate) struct Callbacks {
    pub(crate) functions: Vec<OnLoss>,
    pub(crate) wakers: Vec<Waker>,
}

impl Callbacks {
    pub(crate) fn run(self) {
        self.wakers.into_iter().for_each(|waker| {
            catch_panic(|| waker.wake());
        });
        call_aside(self.functions);
    }
}

impl Watchers {
    fn number(&mut self) -> Number {
        self.last.0 += 1;
        self.last
    }
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
        let until = u64::try_from(until.since_start().as_nanos()).unwrap_or(u64::MAX);
        self.leased_until.fetch_max(until, Ordering::Relaxed);
    }

    pub(crate) fn leased_until(&self) -> Moment {
        Moment::after_start(Duration::from_nanos(self.leased_until.load(Ordering::Relaxed)))
    }

    pub(crate) fn is_leased(&self, now: Moment) -> bool {
        now < self.leased_until()
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

    pub(crate) fn new_watcher(&self) -> Watcher {
        Watcher { id: self.number(), left: AtomicBool::new(false) }
    }

    /// The number under which a watcher registers a waker.
    pub(crate) fn number(&self) -> Number {
        self.lock().number()
    }

    /// Keeps the function until the session ends, or returns it if the session has ended. Drops it
    /// if the watcher has left before.
    pub(crate) fn call_at_end(&self, watcher: &Watcher, on_loss: OnLoss) -> Option<OnLoss> {
        let mut watchers = self.lock();
        if watcher.has_left() {
            return None;
        }
        if self.has_ended() {
            return Some(on_loss);
        }
        let place = Place { watcher: watcher.id, number: watchers.number() };
        watchers.functions.insert(place, on_loss);
        None
    }

    /// Wakes when the session ends or the watcher leaves. Returns true if that has happened.
    pub(crate) fn wake_at_end(&self, watcher: &Watcher, number: Number, waker: Waker) -> bool {
        let mut watchers = self.lock();
        if watcher.has_left() || self.has_ended() {
            return true;
        }
        let former = watchers.wakers.insert(Place { watcher: watcher.id, number }, waker);
        // Dropped outside the mutex: a waker is foreign code.
        drop(watchers);
        catch_panic(|| drop(former));
        false
    }

    pub(crate) fn forget_waker(&self, watcher: &Watcher, number: Number) {
        let waker = self.lock().wakers.remove(&Place { watcher: watcher.id, number });
        catch_panic(|| drop(waker));
    }

    /// The guard has released the lock: drops its functions, and wakes those that wait for the end.
    pub(crate) fn leave(&self, watcher: &Watcher) {
        let mut watchers = self.lock();
        if self.has_ended() {
            return;
        }
        watcher.left.store(true, Ordering::Release);
        let (mut functions, mut wakers) = (Vec::new(), Vec::new());
        let place = |number| Place { watcher: watcher.id, number: Number(number) };
        let all = place(0)..=place(u64::MAX);
        while let Some((&place, _)) = watchers.functions.range(all.clone()).next() {
            functions.extend(watchers.functions.remove(&place));
        }
        while let Some((&place, _)) = watchers.wakers.range(all.clone()).next() {
            wakers.extend(watchers.wakers.remove(&place));
        }
        drop(watchers);
        // What the application has put into the functions may panic when dropped.
        functions.into_iter().for_each(|function| {
            catch_panic(|| drop(function));
        });
        wakers.into_iter().for_each(|waker| {
            catch_panic(|| waker.wake());
        });
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
