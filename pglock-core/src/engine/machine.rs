//! The state machine: it decides everything, and does no I/O, has no clock and knows no task.

mod answers;
mod callers;
pub(super) mod config;
mod endings;
pub(super) mod event;
mod inquiry;
pub(super) mod key;
mod next_job;
mod obstacle;
mod refusals;
mod rotation;
mod session;
mod sessions;
pub(super) mod stats;
mod step;
#[cfg(test)]
mod tests;
mod timers;

use std::collections::hash_map;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};

use self::config::Config;
use self::event::{Arrival, Effects, Event, GrantId, Moment};
use self::key::{Ask, Context, KeyState};
pub(crate) use self::obstacle::Obstacle;
use self::sessions::{Claims, Sessions};
use self::step::Step;
use self::timers::Timer;
use crate::error::Error;
use crate::key::LockKey;

/// As many keys as travel in a statement or two of a busy session.
const SPARES: usize = 64;

/// Decides which caller gets which lock, and what each session says to the server.
///
/// The runtime drives it. Handlers change it, and write down effects, which are to be carried out
/// in their order before anything else is handled:
///
/// * [`handle`](Self::handle): something has happened. The same history has the same effects.
/// * [`note_clock`](Self::note_clock): comes before each `handle`.
///
/// Polls say what is to be done next:
///
/// * [`poll_job`](Self::poll_job): by a session that is open. It is called after each answer of that
///   session was handled, and after each [`Effect::Kick`](event::Effect::Kick); it has effects, too.
/// * [`poll_timeout`](Self::poll_timeout): when to handle an [`Event::Tick`]. It changes with each
///   call of the other two.
/// * [`is_finished`](Self::is_finished): nothing, ever again.
///
/// Getters ([`stats`](Self::stats), [`obstacle`](Self::obstacle), [`silence`](Self::silence)) may
/// be called at any time.
#[derive(Debug)]
pub(crate) struct Machine {
    keys: HashMap<LockKey, KeyState>,
    /// Unused states kept for reuse, so that short-lived keys do not allocate.
    spare: Vec<KeyState>,
    sessions: Sessions,
    last_grant: GrantId,
    last_arrival: Arrival,
    /// Why the machine is closed, once it is.
    closed: Option<Error>,
    /// How late the runtime acts on a timer.
    stall: Duration,
    clock_is_ahead: bool,
}

impl Machine {
    pub(crate) fn new(config: Config, seed: u64) -> Self {
        Self {
            keys: HashMap::new(),
            spare: Vec::new(),
            sessions: Sessions::new(config, seed),
            last_grant: GrantId::default(),
            last_arrival: Arrival::default(),
            closed: None,
            stall: Duration::ZERO,
            clock_is_ahead: false,
        }
    }

    /// Notes what has happened, after what is due by now, and does what follows from it.
    pub(crate) fn handle(&mut self, event: Event, now: Moment, effects: &mut Effects) {
        let step = &mut Step::new(now, effects);
        // What has run out by now must not be given to anybody.
        self.tick(step);
        // The session was given up while its task was at work: nobody waits for that any more.
        let is_late = event.session().is_some_and(|id| self.sessions.get(id).is_none());
        if !is_late {
            self.react(event, step);
        }
        while let Some(key) = self.sessions.next_parked() {
            self.with(key, step, |state, cx| state.unpark(cx));
        }
        self.assign_waiting_sessions(step);
    }

    fn react(&mut self, event: Event, step: &mut Step<'_>) {
        match event {
            Event::Acquire { caller, key, mode, patience } => {
                self.acquire(caller, key, mode, patience, step);
            }
            Event::Abandon { caller, key } => self.abandon(caller, key, step),
            Event::Release { key, grant, releaser } => self.release(key, grant, releaser, step),
            Event::Inspect { caller, key } => self.inspect(caller, key, step),
            Event::Check { caller } => self.check(caller, step),
            Event::AbandonInquiry { caller } => self.abandon_inquiry(caller),
            Event::Inspected { session, locks } => self.inspected(session, &locks, step),
            Event::Opened { session, server } => self.opened(session, server, step),
            Event::OpenFailed { session, error, permanent } => {
                self.open_failed(session, &error, permanent, step);
            }
            Event::Answered { session, answer } => self.answered(session, &answer, step),
            Event::Found { session, holdings } => self.found(session, holdings, step),
            Event::Refused { session, refusal } => self.refused(session, refusal, step),
            Event::Ended { session, error } => self.ended(session, &error, step),
            Event::Tick => {}
            Event::Close { why } => self.close(why, step),
        }
    }

    /// What is needed to name the cause of a silence: how late the runtime acts on a timer, and
    /// whether a test has made the clock jump.
    pub(crate) fn note_clock(&mut self, stall: Duration, is_ahead: bool) {
        self.stall = stall;
        self.clock_is_ahead = is_ahead;
    }

    /// When to handle an [`Event::Tick`], at the latest.
    pub(crate) fn poll_timeout(&self) -> Option<Moment> {
        self.sessions.timers.next()
    }

    /// Whether the machine is closed and its last session has ended.
    pub(crate) fn is_finished(&self) -> bool {
        self.closed.is_some() && self.sessions.is_empty()
    }

    /// Runs `act` on the state of the key, if there is one.
    fn with(
        &mut self,
        key: LockKey,
        step: &mut Step<'_>,
        act: impl FnOnce(&mut KeyState, &mut Context<'_>),
    ) {
        if let hash_map::Entry::Occupied(state) = self.keys.entry(key) {
            let (sessions, last_grant) = (&mut self.sessions, &mut self.last_grant);
            let cx = &mut Context { key, sessions, last_grant, step: step.part() };
            change(state, cx, &mut self.spare, act);
        }
    }

    /// Gives free waiting sessions to the keys that want one, and plans more for the rest.
    fn assign_waiting_sessions(&mut self, step: &mut Step<'_>) {
        if self.sessions.line.is_empty() || !self.sessions.waits_in_queue() {
            return;
        }
        let wants = |keys: &HashMap<LockKey, KeyState>, key| {
            let ask = keys.get(&key).map(|state| state.ask);
            // It may be trying just now, and wants the session if that fails.
            matches!(ask, Some(Ask::InLine { .. }))
        };
        while let Some(session) = self.sessions.free_to_wait()
            && let Some((place, key)) =
                self.sessions.next_in_line(session, step.now, |key| wants(&self.keys, key))
        {
            self.sessions.leave_line(place);
            self.with(key, step, |state, cx| state.take_session(session, cx));
        }
        self.sessions.grow_waiting(step);
    }

    fn tick(&mut self, step: &mut Step<'_>) {
        while let Some(timer) = self.sessions.timers.expire(step.now) {
            match timer {
                Timer::Poll(key) => self.with(key, step, |state, cx| state.poll(cx)),
                Timer::Convert(key) => self.with(key, step, |state, cx| state.convert_at_last(cx)),
                Timer::ReleaseAgain(key) => {
                    self.with(key, step, |state, cx| state.release_again(cx));
                }
                Timer::CancelAgain(session) => self.sessions.cancel_again(session, step),
                Timer::CancelTimeout(session) => self.sessions.cancel_timed_out(session, step),
                Timer::Connect => self.sessions.connect_next(step),
                Timer::Lease(session) => {
                    if self.sessions.lease_is_over(session, step) {
                        self.lease_over(session, step);
                    }
                }
                Timer::Wait(session) => self.check_wait(session, step),
                Timer::RenewWait(session) => self.renew_wait(session, step),
                Timer::Rotate => self.rotate(step),
                Timer::CloseIdle(session) => self.sessions.close_if_idle(session, step),
                Timer::Report => self.sessions.report(step.now),
            }
        }
    }

    /// In order, so that the same history has the same effects.
    fn sorted_keys(&self) -> Vec<LockKey> {
        let mut keys: Vec<_> = self.keys.keys().copied().collect();
        keys.sort_unstable();
        keys
    }
}

/// Runs `act` on the state of a key, and forgets the state if nothing is left of it.
fn change(
    mut place: hash_map::OccupiedEntry<'_, LockKey, KeyState>,
    cx: &mut Context<'_>,
    spare: &mut Vec<KeyState>,
    act: impl FnOnce(&mut KeyState, &mut Context<'_>),
) {
    let state = place.get_mut();
    let queued = state.queue.len();
    // What it had a moment ago must not be in its own way.
    cx.sessions.claims.change(state.claims(), Claims::default());
    act(state, cx);
    cx.sessions.claims.change(Claims::default(), state.claims());
    cx.sessions.queued = cx.sessions.queued + state.queue.len() - queued;
    if state.is_unused() {
        let state = place.remove();
        if state.is_small() && spare.len() < SPARES {
            spare.push(state);
        }
    }
}
