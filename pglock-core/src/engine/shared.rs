//! The machine behind its mutex, and the carrying out of its effects.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use slab::Slab;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::clock::Clock;
use super::event::{Effect, Effects, Event, HoldId, Job, Moment, Outcome, SessionId, WaiterId};
use super::life::{Life, OnLoss};
use super::limits::Limits;
use super::state::State;
use super::stats::Stats;
use crate::error::{Error, ErrorKind};
use crate::looking::LockEntry;

/// What callers, guards and tasks share.
///
/// Callers step the machine themselves, under the mutex, so that a lock passes between tasks of this process without a detour. What
/// has to be awaited is done by tasks: one manager, and one per session, which owns the connection.
pub(crate) struct Shared {
    core: Mutex<Core>,
    /// Wakes the manager: sessions are to be opened, or the next alarm is earlier than it was.
    manager: Notify,
    finished: Notify,
    has_manager: AtomicBool,
    clock: Clock,
}

struct Core {
    state: State,
    fx: Effects,
    slots: Slab<Slot>,
    sessions: BTreeMap<SessionId, Running>,
    to_open: Vec<SessionId>,
    armed: Option<Moment>,
}

/// One caller's place to find its answer.
enum Slot {
    Waiting(Option<Waker>),
    Answered(Reply),
}

#[derive(Debug)]
pub(crate) enum Reply {
    Granted { hold: HoldId, life: Arc<Life> },
    Busy,
    Released,
    Seen(Vec<LockEntry>),
    Failed(Error),
}

struct Running {
    life: Arc<Life>,
    kick: Arc<Notify>,
    abort: Option<AbortHandle>,
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
            core: Mutex::new(Core {
                state: State::new(limits, seed),
                fx: Effects::default(),
                slots: Slab::new(),
                sessions: BTreeMap::new(),
                to_open: Vec::new(),
                armed: None,
            }),
            manager: Notify::new(),
            finished: Notify::new(),
            has_manager: AtomicBool::new(false),
            clock: Clock::start(),
        }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn step(&self, event: Event) {
        self.with(|core, now, wakers| core.step(event, now, wakers));
    }

    /// Steps with an event that will be answered, and gives the answer, or the place where it will be found.
    pub(crate) fn ask(&self, event: impl FnOnce(WaiterId) -> Event) -> Result<Reply, WaiterId> {
        self.with(|core, now, wakers| {
            let waiter = WaiterId(core.slots.insert(Slot::Waiting(None)));
            core.step(event(waiter), now, wakers);
            core.take_reply(waiter).ok_or(waiter)
        })
    }

    /// Takes the answer if it is there; the place is free then.
    pub(crate) fn poll_reply(&self, waiter: WaiterId, cx: &Context<'_>) -> Poll<Reply> {
        let mut core = self.lock();
        if let Some(Slot::Waiting(waker)) = core.slots.get_mut(waiter.0) {
            match waker {
                Some(waker) => waker.clone_from(cx.waker()),
                None => *waker = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        core.take_reply(waiter).map_or(Poll::Pending, Poll::Ready)
    }

    /// Gives up the place. An answer that is there already is returned; otherwise the machine is told.
    pub(crate) fn forget(&self, waiter: WaiterId, abandon: Event) -> Option<Reply> {
        self.with(|core, now, wakers| {
            if let Some(Slot::Waiting(_)) = core.slots.get(waiter.0) {
                core.step(abandon, now, wakers);
            }
            let reply = core.take_reply(waiter);
            core.slots.try_remove(waiter.0);
            reply
        })
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

    /// Tells the machine what the session has to say, and asks what it is to do next.
    pub(crate) fn turn(&self, id: SessionId, event: Option<Event>) -> Job {
        self.with(|core, now, wakers| {
            if let Some(event) = event {
                core.step(event, now, wakers);
            }
            core.act(wakers, |state, fx| state.next(id, now, fx))
        })
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

    pub(crate) fn stats(&self) -> Stats {
        self.lock().state.stats(self.clock.now())
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        // No invariant spans a panic: the machine does not panic between two changes that belong together.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Core, Moment, &mut Wakers) -> T) -> T {
        let mut wakers = Wakers::default();
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

impl Core {
    fn step(&mut self, event: Event, now: Moment, wakers: &mut Wakers) {
        self.act(wakers, |state, fx| state.step(event, now, fx));
    }

    fn act<T>(
        &mut self,
        wakers: &mut Wakers,
        act: impl FnOnce(&mut State, &mut Effects) -> T,
    ) -> T {
        let mut fx = std::mem::take(&mut self.fx);
        let result = act(&mut self.state, &mut fx);
        for effect in fx.0.drain(..) {
            self.carry_out(effect, wakers);
        }
        self.fx = fx;
        result
    }

    fn carry_out(&mut self, effect: Effect, wakers: &mut Wakers) {
        match effect {
            Effect::Resolve { waiter, outcome } => {
                let reply = self.reply(outcome);
                if let Some(slot) = self.slots.get_mut(waiter.0)
                    && let Slot::Waiting(Some(waker)) =
                        std::mem::replace(slot, Slot::Answered(reply))
                {
                    wakers.push(waker);
                }
            }
            Effect::Open(id) => self.to_open.push(id),
            Effect::Kick(id) => {
                if let Some(running) = self.sessions.get(&id) {
                    running.kick.notify_one();
                }
            }
            Effect::Confirmed { session, until } => {
                if let Some(running) = self.sessions.get(&session) {
                    running.life.confirm(until);
                }
            }
            Effect::Lost { session, held, error } => {
                if let Some(running) = self.sessions.get(&session) {
                    if held > 0 && error.kind() != ErrorKind::Closed {
                        let (pid, error) = (running.life.pid(), error.clone());
                        let say = move || tracing::warn!(pid, held, %error, "locks lost: their session has ended");
                        wakers.told.push(Box::new(say));
                    }
                    wakers.told.append(&mut running.life.end(error));
                }
            }
            Effect::Abort(id) => {
                if let Some(abort) = self.sessions.get_mut(&id).and_then(|r| r.abort.take()) {
                    abort.abort();
                }
            }
        }
    }

    /// The answer, if there is one; its place is free then.
    fn take_reply(&mut self, waiter: WaiterId) -> Option<Reply> {
        if let Some(Slot::Answered(_)) = self.slots.get(waiter.0)
            && let Slot::Answered(reply) = self.slots.remove(waiter.0)
        {
            return Some(reply);
        }
        None
    }

    fn reply(&self, outcome: Outcome) -> Reply {
        match outcome {
            Outcome::Granted { hold, session } => match self.sessions.get(&session) {
                Some(running) => Reply::Granted { hold, life: running.life.clone() },
                None => Reply::Failed(Error::lost()),
            },
            Outcome::Busy => Reply::Busy,
            Outcome::Released => Reply::Released,
            Outcome::Seen(locks) => Reply::Seen(locks),
            Outcome::Failed(error) => Reply::Failed(error),
        }
    }

    fn is_finished(&self) -> bool {
        self.state.is_finished() && self.sessions.is_empty()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// Tasks to wake once the mutex is free again.
#[derive(Default)]
struct Wakers {
    first: Option<Waker>,
    others: Vec<Waker>,
    /// What is to be said, and what guards wanted to be done, when locks are lost.
    told: Vec<OnLoss>,
}

impl Wakers {
    fn push(&mut self, waker: Waker) {
        match self.first {
            None => self.first = Some(waker),
            Some(_) => self.others.push(waker),
        }
    }

    fn wake(self) {
        if let Some(first) = self.first {
            first.wake();
        }
        self.others.into_iter().for_each(Waker::wake);
        self.told.into_iter().for_each(|on_loss| on_loss());
    }
}
