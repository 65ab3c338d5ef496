//! The state machine. It makes all decisions, and does no I/O, has no clock and knows no tasks.

mod answers;
mod callers;
pub(super) mod config;
mod endings;
pub(super) mod event;
mod inquiry;
pub(super) mod key;
mod next_job;
mod obstacle;
mod proofs;
mod refusals;
mod rotation;
pub(super) mod run;
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
pub(super) use self::sessions::{lock_share, part_of};
use self::step::Step;
use self::timers::Timer;
use crate::error::Error;
use crate::key::LockKey;

/// As many keys as a busy session sends in one or two statements.
const SPARES: usize = 64;

/// Decides which caller gets which lock, and what each session sends to the server.
///
/// The runtime drives it. Handlers change its state and record effects, which the runtime must
/// carry out in order before it calls another handler:
///
/// * [`handle`](Self::handle): something has happened. The same history has the same effects.
/// * [`note_clock`](Self::note_clock): call it before each `handle`.
///
/// Polls return what to do next:
///
/// * [`poll_job`](Self::poll_job): the next job of an open session. Call it after handling an
///   answer of that session, and after each [`Effect::Kick`](event::Effect::Kick). It has effects,
///   too.
/// * [`poll_timeout`](Self::poll_timeout): when to handle an [`Event::Tick`]. Each call of the
///   other two can change it.
/// * [`is_finished`](Self::is_finished): whether nothing is left to do.
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
    /// The last [`Run`](run::Run).
    last_run: u32,
    last_arrival: Arrival,
    /// Why the machine is closed, if it is.
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
            last_run: 0,
            last_arrival: Arrival::default(),
            closed: None,
            stall: Duration::ZERO,
            clock_is_ahead: false,
        }
    }

    /// First handles everything that is due by now, then the event and its consequences.
    pub(crate) fn handle(&mut self, event: Event, now: Moment, effects: &mut Effects) {
        let step = &mut Step::new(now, effects);
        // A lock whose lease has expired by now must not pass to a caller.
        self.tick(step);
        // The session was dropped while its task was working, so the result no longer matters.
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
            Event::AcquireRun { members, goal } => self.acquire_run(&members, goal, step),
            Event::Downgrade { key, grant } => {
                self.with(key, step, |state, cx| state.downgrade(grant, cx));
            }
            Event::EndHandOvers { key, grant } => {
                self.with(key, step, |state, _| state.end_hand_overs(grant));
            }
            Event::Upgrade { caller, key, grant, patience } => {
                self.upgrade(caller, key, grant, patience, step);
            }
            Event::Abandon { caller, key } => self.abandon(caller, key, step),
            Event::Release { key, grant, releaser } => self.release(key, grant, releaser, step),
            Event::Inspect { caller, key } => self.inspect(caller, key, step),
            Event::Check { caller } => self.check(caller, step),
            Event::Prove { caller, key, grant, proof } => {
                self.prove(caller, key, grant, proof, step);
            }
            Event::AbandonInquiry { caller } => self.abandon_inquiry(caller),
            Event::Inspected { session, locks } => self.inspected(session, &locks, step),
            Event::Opened { session, server } => self.opened(session, server, step),
            Event::OpenFailed { session, error, permanent } => {
                self.open_failed(session, &error, permanent, step);
            }
            Event::Minted { session, token } => self.minted(session, token, step),
            Event::Answered { session, answer } => self.answered(session, &answer, step),
            Event::Found { session, holdings } => self.found(session, holdings, step),
            Event::Refused { session, refusal } => self.refused(session, refusal, step),
            Event::Ended { session, error } => self.ended(session, &error, step),
            Event::Tick => {}
            Event::Close { why } => self.close(why, step),
        }
    }

    /// What the machine needs to name the cause of a silence: how late the runtime acts on a timer,
    /// and whether a test has made the clock jump.
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
            let cx = &mut Context { key, sessions, last_grant, gathering: None, step: step.part() };
            change(state, cx, &mut self.spare, act);
        }
    }

    /// Assigns free waiting sessions to the keys in line, and plans more for the rest.
    fn assign_waiting_sessions(&mut self, step: &mut Step<'_>) {
        if self.sessions.line.is_empty() || !self.sessions.waits_in_queue() {
            return;
        }
        let wants = |keys: &HashMap<LockKey, KeyState>, key| {
            let ask = keys.get(&key).map(|state| state.ask);
            // The key may be trying just now, and needs the session if the try fails.
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

                Timer::Upgrade(key) => self.with(key, step, |state, cx| state.upgrade_again(cx)),
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

    /// In order of keys, so that the same history has the same effects.
    fn sorted_keys(&self) -> Vec<LockKey> {
        let mut keys: Vec<_> = self.keys.keys().copied().collect();
        keys.sort_unstable();
        keys
    }
}

/// Runs `act` on the state of a key, and removes the state if it is empty afterwards.
fn change(
    mut place: hash_map::OccupiedEntry<'_, LockKey, KeyState>,
    cx: &mut Context<'_>,
    spare: &mut Vec<KeyState>,
    act: impl FnOnce(&mut KeyState, &mut Context<'_>),
) {
    let state = place.get_mut();
    let queued = state.queue.len();
    // What the key claimed before must not count against itself.
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
