//! The state machine: what happens on which event.

mod answers;
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
use self::event::{Effect, Effects, Event, GrantId, Moment, Patience, WaiterId};
use self::key::queue::Waiter;
use self::key::{Ask, Context, KeyState};
pub(crate) use self::obstacle::Obstacle;
use self::sessions::{Claims, Link, Sessions};
use self::step::Step;
use self::timers::Timer;
use crate::error::Error;
use crate::key::LockKey;
use crate::mode::Mode;

/// As many keys as travel in a statement or two of a busy session.
const SPARES: usize = 64;

#[derive(Debug)]
pub(crate) struct Machine {
    keys: HashMap<LockKey, KeyState>,
    /// Of keys that are not used any more, for the next ones, so that keys that come and go
    /// allocate nothing.
    spare: Vec<KeyState>,
    sessions: Sessions,
    last_grant: u64,
    arrivals: u64,
    /// Why, once it is.
    closed: Option<Error>,
    /// By how late the runtime acts on a timer.
    stall: Duration,
    clock_is_ahead: bool,
}

impl Machine {
    pub(crate) fn new(config: Config, seed: u64) -> Self {
        Self {
            keys: HashMap::new(),
            spare: Vec::new(),
            sessions: Sessions::new(config, seed),
            last_grant: 0,
            arrivals: 0,
            closed: None,
            stall: Duration::ZERO,
            clock_is_ahead: false,
        }
    }

    /// The one transition function: no I/O, no clock, the same effects for the same history.
    pub(crate) fn handle(&mut self, event: Event, now: Moment, effects: &mut Effects) {
        let step = &mut Step::new(now, effects);
        // What has run out by now must not be given to anybody.
        self.tick(step);
        match event {
            Event::Acquire { waiter, key, mode, patience } => {
                self.acquire(waiter, key, mode, patience, step);
            }
            Event::Abandon { waiter, key } => self.abandon(waiter, key, step),
            Event::Release { key, grant, releaser } => self.release(key, grant, releaser, step),
            Event::Inspect { waiter, key } => self.inspect(waiter, key, step),
            Event::Check { waiter } => self.check(waiter, step),
            Event::AbandonInquiry { waiter } => self.abandon_inquiry(waiter),
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
        while let Some(key) = self.sessions.next_parked() {
            self.with(key, step, |state, cx| state.unpark(cx));
        }
        self.assign_waiting_sessions(step);
    }

    /// What a step needs to know to name the cause of a silence: by how much the runtime is late to
    /// act on an alarm, and whether a test has made the clock jump.
    pub(crate) fn note_clock(&mut self, stall: Duration, is_ahead: bool) {
        self.stall = stall;
        self.clock_is_ahead = is_ahead;
    }

    /// When to call [`step`](Self::step) with [`Event::Tick`], at the latest.
    pub(crate) fn poll_timeout(&self) -> Option<Moment> {
        self.sessions.timers.next()
    }

    /// Whether the machine is closed and its last session gone.
    pub(crate) fn is_finished(&self) -> bool {
        self.closed.is_some() && self.sessions.is_empty()
    }

    /// Runs `act` on the entry, if there is one.
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

    fn acquire(
        &mut self,
        waiter: WaiterId,
        key: LockKey,
        mode: Mode,
        patience: Patience,
        step: &mut Step<'_>,
    ) {
        if let Some(why) = &self.closed {
            return step.fail(waiter, key, why);
        }
        if self.sessions.queued >= self.sessions.config.queue {
            return step.fail(waiter, key, &Error::queue_full());
        }
        self.arrivals += 1;
        let waiter = Waiter { id: waiter, mode, patience, arrival: self.arrivals };
        let state = match self.keys.entry(key) {
            hash_map::Entry::Occupied(state) => state,
            hash_map::Entry::Vacant(place) => {
                place.insert_entry(self.spare.pop().unwrap_or_default())
            }
        };
        let (sessions, last_grant) = (&mut self.sessions, &mut self.last_grant);
        let cx = &mut Context { key, sessions, last_grant, step: step.part() };
        change(state, cx, &mut self.spare, |state, cx| {
            // To wait behind others changes nothing for anybody.
            if state.queue.push_back(waiter) || patience == Patience::Try {
                state.settle(cx);
            }
        });
    }

    fn abandon(&mut self, waiter: WaiterId, key: LockKey, step: &mut Step<'_>) {
        let mut found = false;
        self.with(key, step, |state, cx| {
            if state.queue.remove(waiter).is_some() {
                found = true;
                return state.settle(cx);
            }
            if let Some(grant) = state.grants.iter_mut().find(|h| h.releaser == Some(waiter)) {
                found = true;
                grant.releaser = None;
            }
        });
        if !found {
            self.sessions.forget_releaser(waiter);
        }
    }

    fn release(
        &mut self,
        key: LockKey,
        id: GrantId,
        releaser: Option<WaiterId>,
        step: &mut Step<'_>,
    ) {
        if let hash_map::Entry::Occupied(mut state) = self.keys.entry(key)
            && let Some(grant) = state.get_mut().grant_mut(id).filter(|grant| grant.guards > 0)
        {
            grant.guards -= 1;
            if grant.guards == 0 {
                grant.releaser = releaser;
                let (sessions, last_grant) = (&mut self.sessions, &mut self.last_grant);
                let cx = &mut Context { key, sessions, last_grant, step: step.part() };
                change(state, cx, &mut self.spare, KeyState::settle);
            } else if let Some(releaser) = releaser {
                self.sessions.acknowledge_release(grant.session, releaser, key, step);
            }
        } else if let Some(releaser) = releaser {
            let error = self.closed.clone().unwrap_or_else(Error::lost);
            step.fail(releaser, key, &error);
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
                Timer::Rotate => self.rotate(step),
                Timer::CloseIdle(session) => self.sessions.close_if_idle(session, step),
                Timer::Report => self.sessions.report(step.now),
            }
        }
    }

    fn close(&mut self, why: Error, step: &mut Step<'_>) {
        let why = self.closed.get_or_insert(why).clone();
        self.sessions.end_outage();
        for id in self.sessions.ids() {
            let held = self.guarded_by(id);
            if held > 0 {
                step.push(Effect::Lost { session: id, held, error: why.clone() });
            }
        }
        for key in self.sorted_keys() {
            self.with(key, step, |state, cx| {
                while let Some(waiter) = state.queue.pop_front() {
                    cx.step.fail(waiter.id, key, &why);
                }
                for grant in &mut state.grants {
                    grant.guards = 0;
                }
                state.settle(cx);
            });
        }
        for id in self.sessions.ids() {
            if let Some(session) = self.sessions.get_mut(id) {
                Self::fail_inquiries(session.take_inquiries(), &why, step);
            }
            let session = self.sessions.get(id);
            if session.is_some_and(|s| s.link() == Link::Planned) {
                self.ended(id, &why, step);
            }
        }
        self.sessions.kick_all(step);
    }

    /// In order, so that the same history has the same effects.
    fn sorted_keys(&self) -> Vec<LockKey> {
        let mut keys: Vec<_> = self.keys.keys().copied().collect();
        keys.sort_unstable();
        keys
    }
}

/// Runs `act` on the entry, and forgets the entry if nothing is left of it.
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
