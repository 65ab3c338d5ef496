//! The machine behind its mutex.

mod alarms;
mod callers;
pub(super) mod clock;
pub(super) mod deadlines;
mod deferred;
mod effects;
pub(super) mod liveness;
pub(super) mod log;
#[cfg(feature = "metrics")]
pub(crate) mod metrics;
mod sync;
pub(super) mod tasks;
pub(super) mod tenure;
pub(super) mod thread;

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use self::alarms::Work;
pub(crate) use self::callers::Reply;
use self::callers::{Caller, Callers};
use self::clock::Clock;
use self::deadlines::Deadlines;
use self::deferred::Deferred;
use self::effects::{Host, SessionHandle};
use self::liveness::Liveness;
use self::sync::{AtomicBool, Mutex, MutexGuard};
use super::machine::Obstacle;
use super::machine::config::Config;
use super::machine::event::{CallerId, Event, Job, Moment, SessionId};
use super::machine::stats::Stats;
use super::waits::Waits;
use crate::error::Error;
use crate::key::LockKey;

/// A server that has answered within this time is alive, but may be busy.
const BUSY: Duration = Duration::from_millis(200);

/// What callers, guards and tasks share.
///
/// Callers step the machine themselves, under the mutex, so that a lock passes between tasks of
/// this process without a detour. Tasks do whatever must be awaited: one manager, and for each
/// session a task that owns the connection.
pub(crate) struct Shared {
    host: Mutex<Host>,
    /// Locked after `host`, if both are.
    callers: Callers,
    deadlines: Deadlines,
    /// Wakes the manager: sessions are to be opened, or the next alarm is earlier than it was.
    manager: Notify,
    /// Wakes the keeper, if there is one: the next alarm has moved forward.
    keeper: Option<Notify>,
    has_manager: AtomicBool,
    clock: Clock,
    waits: Waits,
}

impl Shared {
    /// `runtime`: where the manager will run, or `None` for the engine thread.
    pub(crate) fn new(config: Config, seed: u64, runtime: Option<&Handle>) -> Self {
        Self {
            host: Mutex::new(Host::new(config, seed)),
            callers: Callers::default(),
            deadlines: Deadlines::default(),
            manager: Notify::new(),
            keeper: runtime.map(|_| Notify::new()),
            has_manager: AtomicBool::new(false),
            clock: Clock::start(runtime),
            waits: Waits::default(),
        }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What callers hold while they wait.
    pub(crate) fn waits(&self) -> &Waits {
        &self.waits
    }

    fn deadlines(&self) -> &Deadlines {
        &self.deadlines
    }

    /// Steps, and counts the callers that this wakes.
    pub(crate) fn step(&self, event: Event) -> usize {
        self.locked(|host, now, deferred| {
            host.step(event, now, deferred);
            deferred.wakers.len()
        })
    }

    /// Steps with the event of a command, and takes the reply if there is one already. Otherwise,
    /// [`poll_reply`](Self::poll_reply) will find it once the waker is called.
    pub(crate) fn ask(&self, event: impl FnOnce(CallerId) -> Event, waker: Waker) -> Poll<Reply> {
        self.locked(|host, now, deferred| {
            let caller = self.callers.insert();
            host.step(event(caller), now, deferred);
            self.callers.take_or_wait(caller, waker)
        })
    }

    /// Steps with the event of this many callers, each of which then awaits its reply by
    /// [`poll_reply`](Self::poll_reply).
    pub(crate) fn ask_together(
        &self,
        callers: usize,
        event: impl FnOnce(&[CallerId]) -> Event,
    ) -> Vec<CallerId> {
        self.locked(|host, now, deferred| {
            let callers: Vec<_> = (0..callers).map(|_| self.callers.insert()).collect();
            host.step(event(&callers), now, deferred);
            callers
        })
    }

    /// Takes the reply, if there is one, which removes the caller.
    pub(crate) fn poll_reply(&self, caller: CallerId, waker: &Waker) -> Poll<Reply> {
        self.callers.poll(caller, waker)
    }

    /// Removes the caller. Returns its reply, if it has one; otherwise steps with `abandon`.
    pub(crate) fn forget(&self, caller: CallerId, abandon: Event) -> Option<Reply> {
        let caller = self.locked(|host, now, deferred| {
            if self.callers.is_waiting(caller) {
                host.step(abandon, now, deferred);
            }
            self.callers.remove(caller)
        });
        caller.and_then(Caller::into_reply)
    }

    /// Returns true for the one caller that must start the manager.
    pub(crate) fn claim_manager(&self) -> bool {
        !self.has_manager.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn has_manager(&self) -> bool {
        self.has_manager.load(Ordering::Acquire)
    }

    /// The manager's task has ended, or its runtime has dropped it.
    pub(crate) fn manager_gone(&self) {
        self.has_manager.store(false, Ordering::Release);
        // Without a manager, callers are never served.
        self.locked(|host, now, deferred| {
            host.step(Event::Close { why: Error::runtime_ended() }, now, deferred);
            for session in std::mem::take(&mut host.to_open) {
                let error = Error::runtime_ended();
                host.step(Event::OpenFailed { session, error, permanent: true }, now, deferred);
            }
            deferred.wakers.extend(host.closers_if_finished());
        });
    }

    pub(crate) fn session_starts(&self, id: SessionId) -> (Arc<Liveness>, Arc<Notify>) {
        let session = SessionHandle { liveness: Arc::default(), kick: Arc::default(), abort: None };
        let parts = (session.liveness.clone(), session.kick.clone());
        self.lock().sessions.insert(id, session);
        parts
    }

    pub(crate) fn session_spawned(&self, id: SessionId, abort: AbortHandle) {
        if let Some(session) = self.lock().sessions.get_mut(&id) {
            session.abort = Some(abort);
        }
    }

    /// Whether only one session is open or being opened.
    pub(crate) fn is_lone(&self) -> bool {
        self.lock().sessions.len() == 1
    }

    /// Whether no session is open or being opened.
    pub(crate) fn has_no_session(&self) -> bool {
        self.lock().sessions.is_empty()
    }

    /// The next job of the session.
    pub(crate) fn next_job(&self, id: SessionId) -> Job {
        self.locked(|host, now, deferred| {
            host.drive(deferred, |machine, effects| machine.poll_job(id, now, effects))
        })
    }

    pub(crate) fn session_gone(&self, id: SessionId, event: Event) {
        self.locked(|host, now, deferred| {
            host.step(event, now, deferred);
            host.sessions.remove(&id);
            deferred.wakers.extend(host.closers_if_finished());
        });
        self.manager.notify_one();
        self.keeper.iter().for_each(Notify::notify_one);
    }

    /// Completes once the machine is closed and all sessions have ended.
    pub(crate) fn poll_finished(&self, cx: &mut Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let mut host = self.lock();
        if host.is_finished() {
            return Poll::Ready(());
        }
        host.closers.push(waker);
        Poll::Pending
    }

    pub(crate) fn abort_all(&self) {
        let handles: Vec<_> =
            self.lock().sessions.values_mut().filter_map(|session| session.abort.take()).collect();
        for handle in handles {
            handle.abort();
        }
    }

    /// What keeps a caller from the lock for which it has waited this long.
    pub(crate) fn obstacle(&self, key: LockKey, waited: Duration) -> Obstacle {
        self.locked(|host, now, deferred| {
            host.step(Event::Tick, now, deferred);
            host.machine.obstacle(key, now.before(waited.max(BUSY)))
        })
    }

    /// Whether the limit of locks is not known before a session is open.
    pub(crate) fn awaits_cap(&self) -> bool {
        self.lock().machine.awaits_cap()
    }

    /// Why a check got no reply in time.
    pub(crate) fn silence(&self) -> Error {
        self.lock().machine.silence()
    }

    /// The server and the database that sessions are in, as far as that is known.
    pub(crate) fn server(&self) -> Option<(i64, i64)> {
        self.lock().machine.server()
    }

    pub(crate) fn stats(&self) -> Stats {
        let stats = self.lock().machine.stats(self.clock.now());
        Stats { deadlocks: self.waits.count(), ..stats }
    }

    fn lock(&self) -> MutexGuard<'_, Host> {
        // A poisoned mutex is usable: the machine does not panic between two changes that belong
        // together.
        self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Acts under the mutex; wakes, logs and calls back after it.
    fn locked<T>(&self, act: impl FnOnce(&mut Host, Moment, &mut Deferred<'_>) -> T) -> T {
        let mut deferred = Deferred::new(&self.callers);
        let mut host = self.lock();
        host.clock_is_ahead = self.clock.is_ahead();
        let result = act(&mut host, self.clock.now(), &mut deferred);
        let work = Work {
            alarm: host.machine.poll_timeout(),
            opens_sessions: !host.to_open.is_empty(),
            is_finished: host.is_finished(),
        };
        let wake_times = host.wake_times;
        drop(host);
        self.wake_tasks(&work, wake_times);
        deferred.run();
        result
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
