//! The machine, and the carrying out of its effects.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;

use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::callers::{Callers, Replies, Reply};
use crate::engine::machine::State;
use crate::engine::machine::config::Limits;
use crate::engine::machine::event::{Effect, Effects, Event, Moment, Outcome, SessionId};
use crate::engine::runtime::deadlines::Timers;
use crate::engine::runtime::liveness::{Aftermath, Life};
use crate::engine::runtime::thread::{call_aside, guarded};
use crate::error::{Error, ErrorKind};

pub(super) struct Core {
    pub(super) state: State,
    fx: Effects,
    pub(super) sessions: BTreeMap<SessionId, Running>,
    pub(super) to_open: Vec<SessionId>,
    /// Whether a test has paused tokio's clock, which then jumps.
    pub(super) clock_is_ahead: bool,
    /// When the manager looks at the alarms next.
    pub(super) armed: Option<Moment>,
    /// When the keeper does, if there is one.
    pub(super) kept: Option<Moment>,
    /// Callers that wait until the machine is closed.
    pub(super) closers: Vec<Waker>,
}

pub(super) struct Running {
    pub(super) life: Arc<Life>,
    pub(super) kick: Arc<Notify>,
    pub(super) abort: Option<AbortHandle>,
}

impl Core {
    pub(super) fn new(limits: Limits, seed: u64) -> Self {
        Self {
            state: State::new(limits, seed),
            fx: Effects::default(),
            sessions: BTreeMap::new(),
            to_open: Vec::new(),
            clock_is_ahead: false,
            armed: None,
            kept: None,
            closers: Vec::new(),
        }
    }

    pub(super) fn step(&mut self, event: Event, now: Moment, wakers: &mut Wakers<'_>) {
        // By how much the manager is late: its runtime is blocked, or the process was stopped.
        let stall = self.armed.map_or(Moment::ZERO, |armed| now.saturating_sub(armed));
        let clock_is_ahead = self.clock_is_ahead;
        self.act(wakers, |state, fx| {
            state.note_clock(stall, clock_is_ahead);
            state.step(event, now, fx);
        });
    }

    /// Does what is due, and says when something is due next.
    pub(super) fn tick(
        &mut self,
        now: Moment,
        wakers: &mut Wakers<'_>,
        timers: &Timers,
    ) -> Option<Moment> {
        wakers.callers.extend(timers.due(now));
        if self.state.alarm().is_some_and(|at| at <= now) {
            self.step(Event::Tick, now, wakers);
        }
        [self.state.alarm(), timers.next()].into_iter().flatten().min()
    }

    pub(super) fn act<T>(
        &mut self,
        wakers: &mut Wakers<'_>,
        act: impl FnOnce(&mut State, &mut Effects) -> T,
    ) -> T {
        let mut fx = std::mem::take(&mut self.fx);
        let result = act(&mut self.state, &mut fx);
        let mut replies = wakers.replies_to.replies();
        for effect in fx.0.drain(..) {
            self.carry_out(effect, &mut replies, wakers);
        }
        drop(replies);
        self.fx = fx;
        result
    }

    fn carry_out(&mut self, effect: Effect, replies: &mut Replies<'_>, wakers: &mut Wakers<'_>) {
        match effect {
            Effect::Resolve { waiter, outcome } => {
                let reply = self.reply(outcome);
                wakers.callers.extend(replies.give(waiter, reply));
            }
            Effect::Open(id) => self.to_open.push(id),
            Effect::Kick(id) => {
                if let Some(running) = self.sessions.get(&id) {
                    wakers.kicks.push(running.kick.clone());
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
                    wakers.ends.push(running.life.end(error));
                }
            }
            Effect::Abort(id) => {
                if let Some(abort) = self.sessions.get_mut(&id).and_then(|r| r.abort.take()) {
                    abort.abort();
                }
            }
            Effect::WaitCancelled { session, key, error } => {
                let pid = self.pid(session);
                let say = move || tracing::warn!(pid, %key, %error, "the server ended a wait that was not given up, as pg_cancel_backend does: waiting again");
                wakers.told.push(Box::new(say));
            }
            Effect::CancelRefused { session, error } => {
                let pid = self.pid(session);
                let say = move || tracing::warn!(pid, %error, "the server refused to cancel a wait: its connection is closed instead, and busy locks are polled from now on");
                wakers.told.push(Box::new(say));
            }
            Effect::Down { session, error } => {
                let pid = self.pid(session);
                wakers.told.push(Box::new(move || say_down(pid, &error)));
            }
            Effect::Up { session, down_for } => {
                let pid = self.pid(session);
                let say = move || tracing::warn!(pid, ?down_for, "the server is back");
                wakers.told.push(Box::new(say));
            }
        }
    }

    /// The backend pid, if the session was opened.
    fn pid(&self, id: SessionId) -> Option<i32> {
        self.sessions.get(&id).and_then(|running| running.life.pid())
    }

    fn reply(&self, outcome: Outcome) -> Reply {
        match outcome {
            Outcome::Granted { hold, session } => match self.sessions.get(&session) {
                Some(running) => Reply::Granted { hold, life: running.life.clone() },
                None => Reply::Failed(Box::new(Error::lost())),
            },
            Outcome::Busy => Reply::Busy,
            Outcome::Released => Reply::Released,
            Outcome::Seen(locks) => Reply::Seen(locks),
            Outcome::Checked => Reply::Checked,
            Outcome::Failed(error) => Reply::Failed(Box::new(error)),
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.state.is_finished() && self.sessions.is_empty()
    }

    /// Callers that have waited until the machine is closed, once it is.
    pub(super) fn closers_if_finished(&mut self) -> Vec<Waker> {
        if self.is_finished() { std::mem::take(&mut self.closers) } else { Vec::new() }
    }
}

fn say_down(pid: Option<i32>, error: &Error) {
    let error = error.with_causes();
    match pid {
        Some(_) => tracing::warn!(
            pid,
            %error,
            "connection to the server lost: no locks can be had until there is a new one"
        ),
        None => tracing::warn!(
            %error,
            "the server cannot be reached: no locks can be had until it can"
        ),
    }
}

/// Tasks to wake once the mutex is free again.
pub(super) struct Wakers<'a> {
    replies_to: &'a Callers,
    pub(super) callers: SmallVec<[Waker; 2]>,
    /// Of sessions.
    kicks: SmallVec<[Arc<Notify>; 2]>,
    ends: Vec<Aftermath>,
    /// What is to be logged.
    pub(super) told: Vec<Box<dyn FnOnce() + Send>>,
}

impl<'a> Wakers<'a> {
    pub(super) fn new(replies_to: &'a Callers) -> Self {
        Self {
            replies_to,
            callers: SmallVec::new(),
            kicks: SmallVec::new(),
            ends: Vec::new(),
            told: Vec::new(),
        }
    }

    pub(super) fn callers(&self) -> usize {
        self.callers.len()
    }

    pub(super) fn wake(self) {
        self.callers.into_iter().for_each(wake);
        self.kicks.iter().for_each(|kick| kick.notify_one());
        self.told.into_iter().for_each(|say| {
            guarded(say);
        });
        let mut functions = Vec::new();
        for mut end in self.ends {
            end.wakers.into_iter().for_each(wake);
            functions.append(&mut end.functions);
        }
        call_aside(functions);
    }
}

/// Wakers belong to the application: one that panics must not take others with it.
fn wake(waker: Waker) {
    guarded(|| waker.wake());
}
