//! Deadlines of callers. The engine keeps them, because a caller's executor need not have timers.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::Shared;
use super::sync::{Mutex, MutexGuard};
use super::thread::catch_panic;
use crate::engine::machine::event::Moment;

/// Wakers, each with the time at which to call it.
#[derive(Default)]
pub(super) struct Deadlines(Mutex<Table>);

#[derive(Default)]
struct Table {
    next: u64,
    sleepers: BTreeMap<Alarm, Waker>,
}

/// In order of time. The number distinguishes alarms of the same moment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Alarm {
    at: Moment,
    number: u64,
}

impl Deadlines {
    pub(super) fn next(&self) -> Option<Moment> {
        self.lock().sleepers.first_key_value().map(|(alarm, _)| alarm.at)
    }

    /// Removes the wakers whose time has come.
    pub(super) fn due(&self, now: Moment) -> Vec<Waker> {
        let mut table = self.lock();
        let mut due = Vec::new();
        while let Some(first) = table.sleepers.first_entry()
            && first.key().at <= now
        {
            due.push(first.remove());
        }
        due
    }

    /// Sets an alarm, or replaces its waker. Returns the replaced waker, which the caller drops
    /// outside the mutex.
    fn set(&self, at: Moment, alarm: Option<Alarm>, waker: Waker) -> (Alarm, Option<Waker>) {
        let mut table = self.lock();
        let alarm = alarm.unwrap_or_else(|| {
            table.next += 1;
            Alarm { at, number: table.next }
        });
        let former = table.sleepers.insert(alarm, waker);
        (alarm, former)
    }

    fn unset(&self, alarm: Alarm) -> Option<Waker> {
        self.lock().sleepers.remove(&alarm)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Completes when the time has passed by the engine's clock, on any executor.
pub(crate) struct Sleep<'a> {
    shared: &'a Shared,
    /// `None` if that is further away than the clock counts.
    at: Option<Moment>,
    alarm: Option<Alarm>,
}

impl<'a> Sleep<'a> {
    pub(crate) fn new(shared: &'a Shared, time: Duration) -> Self {
        Self { shared, at: shared.clock().now().checked_add(time), alarm: None }
    }
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        if self.shared.clock().now() >= at {
            return Poll::Ready(());
        }
        // Cloned outside the mutex: a waker is foreign code.
        let waker = cx.waker().clone();
        let (alarm, former) = self.shared.deadlines().set(at, self.alarm, waker);
        self.alarm = Some(alarm);
        // This alarm is new, or has just fired for another waker.
        if former.is_none() {
            self.shared.deadline_was_set(at);
        }
        catch_panic(|| drop(former));
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Some(alarm) = self.alarm {
            let waker = self.shared.deadlines().unset(alarm);
            catch_panic(|| drop(waker));
        }
    }
}
