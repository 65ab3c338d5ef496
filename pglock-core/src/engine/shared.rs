//! The machine behind its mutex.

mod core;
mod slots;

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use self::core::{Core, Running, Wakers};
use self::slots::{Slot, Slots};
use super::clock::Clock;
use super::event::{Event, HoldId, Job, Moment, SessionId, WaiterId};
use super::life::Life;
use super::limits::Limits;
use super::state::Obstacle;
use super::stats::Stats;
use super::sync::{AtomicBool, Mutex, MutexGuard};
use crate::error::Error;
use crate::key::LockKey;
use crate::looking::LockEntry;

/// What callers, guards and tasks share.
///
/// Callers step the machine themselves, under the mutex, so that a lock passes between tasks of
/// this process without a detour. What has to be awaited is done by tasks: one manager, and one per
/// session, which owns the connection.
pub(crate) struct Shared {
    core: Mutex<Core>,
    /// Locked after `core`, if both are.
    slots: Slots,
    /// Wakes the manager: sessions are to be opened, or the next alarm is earlier than it was.
    manager: Notify,
    finished: Notify,
    has_manager: AtomicBool,
    clock: Clock,
}

#[derive(Debug)]
pub(crate) enum Reply {
    Granted {
        hold: HoldId,
        life: Arc<Life>,
    },
    Busy,
    Released,
    Seen(Vec<LockEntry>),
    Checked,
    /// In a box, so that the place of an answer is small.
    Failed(Box<Error>),
}

/// What the manager is to do.
pub(crate) struct Chores {
    pub(crate) open: Vec<SessionId>,
    pub(crate) alarm: Option<Moment>,
    pub(crate) finished: bool,
}

impl Shared {
    pub(crate) fn new(limits: Limits, seed: u64) -> Self {
        Self {
            core: Mutex::new(Core::new(limits, seed)),
            slots: Slots::default(),
            manager: Notify::new(),
            finished: Notify::new(),
            has_manager: AtomicBool::new(false),
            clock: Clock::start(),
        }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Steps, and counts the callers that this wakes.
    pub(crate) fn step(&self, event: Event) -> usize {
        self.with(|core, now, wakers| {
            core.step(event, now, wakers);
            wakers.callers()
        })
    }

    /// Steps with an event that will be answered, and gives the answer, or the place where it will
    /// be found once the waker is called.
    pub(crate) fn ask(
        &self,
        event: impl FnOnce(WaiterId) -> Event,
        waker: &Waker,
    ) -> Result<Reply, WaiterId> {
        self.with(|core, now, wakers| {
            let waiter = self.slots.insert();
            core.step(event(waiter), now, wakers);
            self.slots.take_or_wait(waiter, waker)
        })
    }

    /// Takes the answer if it is there, and the place is free then, or else says whom to wake.
    pub(crate) fn poll_reply(&self, waiter: WaiterId, waker: &Waker) -> Result<Reply, WaiterId> {
        self.slots.take_or_wait(waiter, waker)
    }

    /// Gives up the place. An answer that is there already is returned; otherwise the machine is
    /// told.
    pub(crate) fn forget(&self, waiter: WaiterId, abandon: Event) -> Option<Reply> {
        let slot = self.with(|core, now, wakers| {
            if self.slots.is_waiting(waiter) {
                core.step(abandon, now, wakers);
            }
            self.slots.remove(waiter)
        });
        slot.and_then(Slot::answer)
    }

    /// True for the one caller who has to start the manager.
    pub(crate) fn claim_manager(&self) -> bool {
        !self.has_manager.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn has_manager(&self) -> bool {
        self.has_manager.load(Ordering::Acquire)
    }

    pub(crate) fn manager_gone(&self) {
        self.has_manager.store(false, Ordering::Release);
    }

    pub(crate) fn chores(&self) -> Chores {
        self.with(|core, now, wakers| {
            if core.state.alarm().is_some_and(|at| at <= now) {
                core.step(Event::Tick, now, wakers);
            }
            core.armed = core.state.alarm();
            Chores {
                open: std::mem::take(&mut core.to_open),
                alarm: core.armed,
                finished: core.state.is_finished(),
            }
        })
    }

    /// Completes when there may be other chores.
    pub(crate) async fn called(&self, alarm: Option<Moment>) {
        let called = self.manager.notified();
        match alarm {
            Some(at) => {
                // That it is time and that something else came up mean the same: look again.
                let _ = tokio::time::timeout_at(self.clock.instant(at), called).await;
            }
            None => called.await,
        }
    }

    pub(crate) fn session_starts(&self, id: SessionId) -> (Arc<Life>, Arc<Notify>) {
        let running = Running { life: Arc::default(), kick: Arc::default(), abort: None };
        let parts = (running.life.clone(), running.kick.clone());
        self.lock().sessions.insert(id, running);
        parts
    }

    pub(crate) fn session_spawned(&self, id: SessionId, abort: AbortHandle) {
        if let Some(running) = self.lock().sessions.get_mut(&id) {
            running.abort = Some(abort);
        }
    }

    /// Whether there is one session only, opening or open.
    pub(crate) fn is_lone(&self) -> bool {
        self.lock().sessions.len() == 1
    }

    /// What the session is to do next.
    pub(crate) fn turn(&self, id: SessionId) -> Job {
        self.with(|core, now, wakers| core.act(wakers, |state, fx| state.next(id, now, fx)))
    }

    pub(crate) fn session_gone(&self, id: SessionId, event: Event) {
        self.with(|core, now, wakers| {
            core.step(event, now, wakers);
            core.sessions.remove(&id);
        });
        self.finished.notify_waiters();
        self.manager.notify_one();
    }

    /// Completes when the machine is closed and all sessions are gone.
    pub(crate) async fn finished(&self) {
        loop {
            let mut finished = std::pin::pin!(self.finished.notified());
            finished.as_mut().enable();
            if self.lock().is_finished() {
                return;
            }
            finished.await;
        }
    }

    pub(crate) fn abort_all(&self) {
        let handles: Vec<_> =
            self.lock().sessions.values_mut().filter_map(|running| running.abort.take()).collect();
        for handle in handles {
            handle.abort();
        }
    }

    /// What stands in the way of a caller that has waited for so long.
    pub(crate) fn obstacle(&self, key: LockKey, waited: Duration) -> Obstacle {
        self.with(|core, now, wakers| {
            core.step(Event::Tick, now, wakers);
            core.state.obstacle(key, now.saturating_sub(waited))
        })
    }

    /// Why a check has not been answered in time.
    pub(crate) fn silence(&self) -> Error {
        let core = self.lock();
        match core.state.sessions.is_connected() {
            true => Error::unanswered(),
            false => core.state.sessions.why_not_connected(),
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        self.lock().state.stats(self.clock.now())
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        // No invariant spans a panic: the machine does not panic between two changes that belong
        // together.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Core, Moment, &mut Wakers<'_>) -> T) -> T {
        let mut wakers = Wakers::new(&self.slots);
        let mut core = self.lock();
        let result = act(&mut core, self.clock.now(), &mut wakers);
        let call_manager = !core.to_open.is_empty()
            || core.state.alarm().is_some_and(|at| core.armed.is_none_or(|armed| at < armed));
        drop(core);
        if call_manager {
            self.manager.notify_one();
        }
        wakers.wake();
        result
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
