//! The machine behind its mutex.

mod callers;
mod clock;
pub(super) mod deadlines;
mod effects;
pub(super) mod liveness;
#[cfg(feature = "metrics")]
mod metrics;
mod sync;
pub(super) mod tasks;
pub(super) mod thread;

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

pub(crate) use self::callers::Reply;
use self::callers::{Caller, Callers};
use self::clock::Clock;
use self::deadlines::Timers;
use self::effects::{Core, Running, Wakers};
use self::liveness::Life;
use self::sync::{AtomicBool, Mutex, MutexGuard};
use super::machine::Obstacle;
use super::machine::config::Limits;
use super::machine::event::{Event, Job, Moment, SessionId, WaiterId};
use super::machine::stats::Stats;
use crate::error::Error;
use crate::key::LockKey;

/// A server that has answered this recently is there, and may be busy.
const BUSY: Duration = Duration::from_millis(200);

/// What callers, guards and tasks share.
///
/// Callers step the machine themselves, under the mutex, so that a lock passes between tasks of
/// this process without a detour. What has to be awaited is done by tasks: one manager, and one per
/// session, which owns the connection.
pub(crate) struct Shared {
    core: Mutex<Core>,
    /// Locked after `core`, if both are.
    callers: Callers,
    timers: Timers,
    /// Wakes the manager: sessions are to be opened, or the next alarm is earlier than it was.
    manager: Notify,
    /// Wakes the keeper, where there is one: the next alarm is earlier than it was.
    keeper: Notify,
    has_keeper: bool,
    has_manager: AtomicBool,
    clock: Clock,
}

/// What the manager is to do.
pub(crate) struct Chores {
    pub(crate) open: Vec<SessionId>,
    pub(crate) alarm: Option<Moment>,
    pub(crate) finished: bool,
}

impl Shared {
    /// `runtime`: where the manager will run, or `None` for the engine thread.
    pub(crate) fn new(limits: Limits, seed: u64, runtime: Option<&Handle>) -> Self {
        Self {
            core: Mutex::new(Core::new(limits, seed)),
            callers: Callers::default(),
            timers: Timers::default(),
            manager: Notify::new(),
            keeper: Notify::new(),
            has_keeper: runtime.is_some(),
            has_manager: AtomicBool::new(false),
            clock: Clock::start(runtime),
        }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    fn timers(&self) -> &Timers {
        &self.timers
    }

    /// Steps, and counts the callers that this wakes.
    pub(crate) fn step(&self, event: Event) -> usize {
        self.with(|core, now, wakers| {
            core.step(event, now, wakers);
            wakers.callers()
        })
    }

    /// Steps with the event of a command, and takes the reply if there is one already. Otherwise,
    /// [`poll_reply`](Self::poll_reply) will find it once the waker is called.
    pub(crate) fn ask(&self, event: impl FnOnce(WaiterId) -> Event, waker: Waker) -> Poll<Reply> {
        self.with(|core, now, wakers| {
            let caller = self.callers.insert();
            core.step(event(caller), now, wakers);
            self.callers.take_or_wait(caller, waker)
        })
    }

    /// Takes the reply, if it is there, which removes the caller.
    pub(crate) fn poll_reply(&self, caller: WaiterId, waker: &Waker) -> Poll<Reply> {
        self.callers.poll(caller, waker)
    }

    /// Removes the caller. Returns its reply, if it has one; otherwise steps with `abandon`.
    pub(crate) fn forget(&self, caller: WaiterId, abandon: Event) -> Option<Reply> {
        let caller = self.with(|core, now, wakers| {
            if self.callers.is_waiting(caller) {
                core.step(abandon, now, wakers);
            }
            self.callers.remove(caller)
        });
        caller.and_then(Caller::into_reply)
    }

    /// True for the one caller who has to start the manager.
    pub(crate) fn claim_manager(&self) -> bool {
        !self.has_manager.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn has_manager(&self) -> bool {
        self.has_manager.load(Ordering::Acquire)
    }

    /// The manager's task has ended, or its runtime has dropped it.
    pub(crate) fn manager_gone(&self) {
        self.has_manager.store(false, Ordering::Release);
        // Nobody would serve callers that wait now or come later.
        self.with(|core, now, wakers| {
            core.step(Event::Close { why: Error::runtime_ended() }, now, wakers);
            for session in std::mem::take(&mut core.to_open) {
                let error = Error::runtime_ended();
                core.step(Event::OpenFailed { session, error, permanent: true }, now, wakers);
            }
            wakers.callers.extend(core.closers_if_finished());
        });
    }

    /// Does what is due by now, and says what else there is to do.
    pub(crate) fn chores(&self) -> Chores {
        self.with(|core, now, wakers| {
            core.armed = core.tick(now, wakers, &self.timers);
            Chores {
                open: std::mem::take(&mut core.to_open),
                alarm: core.armed,
                finished: core.is_finished(),
            }
        })
    }

    /// Does what is due by now for a manager whose runtime may be blocked. Says when to look again,
    /// or that nothing is left to look after.
    pub(crate) fn keep(&self) -> Option<Option<Moment>> {
        self.with(|core, now, wakers| {
            core.kept = core.tick(now, wakers, &self.timers);
            (!core.is_finished()).then_some(core.kept)
        })
    }

    /// A caller has set a timer, which may be the earliest alarm.
    pub(crate) fn timer_was_set(&self, at: Moment) {
        let is_earlier = |alarm: Option<Moment>| alarm.is_none_or(|alarm| at < alarm);
        let core = self.lock();
        let (armed, kept) = (core.armed, core.kept);
        drop(core);
        if is_earlier(armed) {
            self.manager.notify_one();
        }
        if self.has_keeper && is_earlier(kept) {
            self.keeper.notify_one();
        }
    }

    /// Completes when the manager may have other chores.
    pub(crate) async fn called(&self, alarm: Option<Moment>) {
        self.notified(&self.manager, alarm).await;
    }

    /// Completes when the keeper has to look again.
    pub(crate) async fn keeper_called(&self, alarm: Option<Moment>) {
        self.notified(&self.keeper, alarm).await;
    }

    async fn notified(&self, notify: &Notify, alarm: Option<Moment>) {
        let called = notify.notified();
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
            wakers.callers.extend(core.closers_if_finished());
        });
        self.manager.notify_one();
        self.keeper.notify_one();
    }

    /// Whether the machine is closed and all sessions are gone. If not, wakes when they are.
    pub(crate) fn finished(&self, cx: &mut Context<'_>) -> bool {
        let waker = cx.waker().clone();
        let mut core = self.lock();
        if !core.is_finished() {
            core.closers.push(waker);
            return false;
        }
        true
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
            core.state.obstacle(key, now.saturating_sub(waited.max(BUSY)))
        })
    }

    /// Why a check has not been answered in time.
    pub(crate) fn silence(&self) -> Error {
        self.lock().state.silence()
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
        let mut wakers = Wakers::new(&self.callers);
        let mut core = self.lock();
        core.clock_is_ahead = self.clock.is_ahead();
        let result = act(&mut core, self.clock.now(), &mut wakers);
        let alarm = core.state.alarm();
        let is_late =
            |armed: Option<Moment>| alarm.is_some_and(|at| armed.is_none_or(|armed| at < armed));
        let (call_manager, call_keeper) = (
            !core.to_open.is_empty() || is_late(core.armed) || core.is_finished(),
            self.has_keeper && (is_late(core.kept) || core.is_finished()),
        );
        drop(core);
        if call_manager {
            self.manager.notify_one();
        }
        if call_keeper {
            self.keeper.notify_one();
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
