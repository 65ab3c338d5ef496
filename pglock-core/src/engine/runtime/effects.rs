//! The machine together with what its effects act on, and the execution of each effect.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::alarms::WakeTimes;
use super::callers::{Replies, Reply};
use super::deadlines::Deadlines;
use super::deferred::Deferred;
use super::liveness::Liveness;
use super::log::Log;
use crate::engine::machine::Machine;
use crate::engine::machine::config::Config;
use crate::engine::machine::event::{Effect, Effects, Event, Moment, Outcome, SessionId};
use crate::error::{Error, ErrorKind};

/// The data behind the mutex of [`Shared`](super::Shared).
pub(super) struct Host {
    pub(super) machine: Machine,
    effects: Effects,
    pub(super) sessions: BTreeMap<SessionId, SessionHandle>,
    pub(super) to_open: Vec<SessionId>,
    /// Whether a test has paused tokio's clock, which then jumps.
    pub(super) clock_is_ahead: bool,
    pub(super) wake_times: WakeTimes,
    /// Callers that wait until the machine is closed.
    pub(super) closers: Vec<Waker>,
}

/// The link between the runtime and the task of a session.
pub(super) struct SessionHandle {
    pub(super) liveness: Arc<Liveness>,
    /// Notified when the session has something to do.
    pub(super) kick: Arc<Notify>,
    pub(super) abort: Option<AbortHandle>,
}

impl Host {
    pub(super) fn new(config: Config, seed: u64) -> Self {
        Self {
            machine: Machine::new(config, seed),
            effects: Effects::default(),
            sessions: BTreeMap::new(),
            to_open: Vec::new(),
            clock_is_ahead: false,
            wake_times: WakeTimes::default(),
            closers: Vec::new(),
        }
    }

    pub(super) fn step(&mut self, event: Event, now: Moment, deferred: &mut Deferred<'_>) {
        let stall = self.wake_times.stall(now);
        let clock_is_ahead = self.clock_is_ahead;
        self.drive(deferred, |machine, effects| {
            machine.note_clock(stall, clock_is_ahead);
            machine.handle(event, now, effects);
        });
    }

    /// Does what is due, and returns when the next alarm is due.
    pub(super) fn tick(
        &mut self,
        now: Moment,
        deferred: &mut Deferred<'_>,
        deadlines: &Deadlines,
    ) -> Option<Moment> {
        deferred.wakers.extend(deadlines.due(now));
        if self.machine.poll_timeout().is_some_and(|at| at <= now) {
            self.step(Event::Tick, now, deferred);
        }
        [self.machine.poll_timeout(), deadlines.next()].into_iter().flatten().min()
    }

    /// Lets the machine act, and carries out the effects.
    pub(super) fn drive<T>(
        &mut self,
        deferred: &mut Deferred<'_>,
        act: impl FnOnce(&mut Machine, &mut Effects) -> T,
    ) -> T {
        let mut effects = std::mem::take(&mut self.effects);
        let result = act(&mut self.machine, &mut effects);
        let mut replies = deferred.callers.replies();
        for effect in effects.0.drain(..) {
            self.carry_out(effect, &mut replies, deferred);
        }
        drop(replies);
        self.effects = effects;
        result
    }

    fn carry_out(
        &mut self,
        effect: Effect,
        replies: &mut Replies<'_>,
        deferred: &mut Deferred<'_>,
    ) {
        match effect {
            Effect::Resolve { caller, outcome } => {
                let reply = self.reply(outcome);
                deferred.wakers.extend(replies.give(caller, reply));
            }
            Effect::Open(id) => self.to_open.push(id),
            Effect::Kick(id) => {
                deferred.kicks.extend(self.sessions.get(&id).map(|session| session.kick.clone()));
            }
            Effect::LeaseRenewed { session, until } => {
                if let Some(session) = self.sessions.get(&session) {
                    session.liveness.renew(until);
                }
            }
            Effect::Lost { session, held, error } => self.lose(session, held, error, deferred),
            Effect::Abort(id) => self.abort(id),
            Effect::WaitCancelled { session, key, error } => {
                deferred.logs.push(Log::WaitCancelled { pid: self.pid(session), key, error });
            }
            Effect::CancelRefused { session, error } => {
                deferred.logs.push(Log::CancelRefused { pid: self.pid(session), error });
            }
            Effect::Down { session, error } => {
                deferred.logs.push(Log::Down { pid: self.pid(session), error });
            }
            Effect::Up { session, down_for } => {
                deferred.logs.push(Log::Up { pid: self.pid(session), down_for });
            }
        }
    }

    fn lose(&self, id: SessionId, held: usize, error: Error, deferred: &mut Deferred<'_>) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        if held > 0 && error.kind() != ErrorKind::Closed {
            let (pid, error) = (session.liveness.pid(), error.clone());
            deferred.logs.push(Log::LocksLost { pid, held, error });
        }
        deferred.losses.push(session.liveness.end(error));
    }

    fn abort(&mut self, id: SessionId) {
        if let Some(abort) = self.sessions.get_mut(&id).and_then(|session| session.abort.take()) {
            abort.abort();
        }
    }

    /// The backend pid, if the session was opened.
    fn pid(&self, id: SessionId) -> Option<i32> {
        self.sessions.get(&id).and_then(|session| session.liveness.pid())
    }

    fn reply(&self, outcome: Outcome) -> Reply {
        match outcome {
            Outcome::Granted { grant, session } => match self.sessions.get(&session) {
                Some(session) => Reply::Granted { grant, liveness: session.liveness.clone() },
                None => Reply::Failed(Box::new(Error::lost())),
            },
            Outcome::Busy => Reply::Busy,
            Outcome::Skipped => Reply::Skipped,
            Outcome::Upgraded => Reply::Upgraded,
            Outcome::Released => Reply::Released,
            Outcome::Inspected(locks) => Reply::Inspected(locks),
            Outcome::Checked => Reply::Checked,
            Outcome::Seen(seen) => Reply::Seen(seen),
            Outcome::Token(token) => Reply::Token(token),
            Outcome::Failed(error) => Reply::Failed(Box::new(error)),
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.machine.is_finished() && self.sessions.is_empty()
    }

    /// Callers that have waited until the machine is closed, once it is.
    pub(super) fn closers_if_finished(&mut self) -> Vec<Waker> {
        if self.is_finished() { std::mem::take(&mut self.closers) } else { Vec::new() }
    }
}
