//! The sessions of the machine: what each one is doing, and which one to use.

mod acknowledgement;
mod cancel;
mod choice;
mod connection;
mod lease;
mod line;
mod lock_cap;
mod outage;
mod probe;
mod rotation;

use std::collections::{BTreeMap, VecDeque};

pub(crate) use self::connection::part_of;
pub(super) use self::lock_cap::Claims;
pub(crate) use self::lock_cap::lock_share;
use self::outage::Outage;
pub(super) use self::rotation::{MOST_TURNS, Standing, Turn};
use super::config::Config;
use super::event::{Effect, Moment, ServerFacts, SessionId};
pub(super) use super::session::{Doubt, Errand, Errands, InFlight, Link, Role, Session};
use super::step::Step;
use super::timers::{Timer, Timers};
use crate::key::LockKey;

#[derive(Debug)]
pub(super) struct Sessions {
    pub(super) config: Config,
    table: BTreeMap<SessionId, Session>,
    next_id: SessionId,
    /// Keys that need a waiting session, by lane, in order of arrival.
    pub(super) line: BTreeMap<Place, Standing>,
    next_place: u64,
    pub(super) timers: Timers,
    /// Attempts to connect, or sessions without any good answer, since the last good answer.
    failures: u32,
    not_before: Moment,
    outage: Outage,
    /// Send time of the last answered question about what a session holds.
    pub(super) heartbeat: Option<Moment>,
    /// What the newest session has learnt about the server.
    pub(super) server: Option<ServerFacts>,
    /// Locks at the server.
    pub(super) claims: Claims,
    /// Keys that wait until the pending locks leave room below the cap.
    pub(super) parked: VecDeque<LockKey>,
    /// The number of waiting callers.
    pub(super) queued: usize,
    pub(super) counts: Counts,
    random: u64,
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) grants: u64,
    pub(super) hand_overs: u64,
    pub(super) losses: u64,
    pub(super) reconnects: u64,
    /// Sessions that have ended unexpectedly and were not replaced yet.
    pub(super) missing: u64,
}

/// The place of a key in line for a waiting session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place {
    pub(super) lane: usize,
    number: u64,
}

impl Sessions {
    pub(super) fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            table: BTreeMap::new(),
            next_id: SessionId::default(),
            line: BTreeMap::new(),
            next_place: 0,
            timers: Timers::default(),
            failures: 0,
            not_before: Moment::START,
            outage: Outage::default(),
            heartbeat: None,
            server: None,
            claims: Claims::default(),
            parked: VecDeque::new(),
            queued: 0,
            counts: Counts::default(),
            random: seed | 1,
        }
    }

    pub(super) fn get(&self, id: SessionId) -> Option<&Session> {
        self.table.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.table.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.table.iter().map(|(id, session)| (*id, session))
    }

    pub(super) fn of_role(&self, role: Role) -> impl Iterator<Item = (SessionId, &Session)> {
        self.iter().filter(move |(_, session)| session.role() == role)
    }

    pub(super) fn ids(&self) -> Vec<SessionId> {
        self.table.keys().copied().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub(super) fn remove(&mut self, id: SessionId) -> Option<Session> {
        for timer in [
            Timer::CancelAgain(id),
            Timer::CancelTimeout(id),
            Timer::Lease(id),
            Timer::Wait(id),
            Timer::RenewWait(id),
            Timer::CloseIdle(id),
        ] {
            self.timers.stop(timer);
        }
        self.table.remove(&id)
    }

    /// Queues an errand, and wakes the session if it is idle.
    ///
    /// The session is in the table: it was chosen in this step, or holds a grant, and the machine
    /// drops grants together with their session.
    pub(super) fn push(&mut self, id: SessionId, errand: Errand, step: &mut Step<'_>) {
        let Some(session) = self.table.get_mut(&id) else {
            debug_assert!(false, "{errand:?} for a session that is gone");
            return;
        };
        if session.push(errand) {
            step.push(Effect::Kick(id));
        }
    }

    /// Queues an errand for a session that is about to ask for its next job.
    pub(super) fn push_first(&mut self, id: SessionId, errand: Errand) {
        if let Some(session) = self.table.get_mut(&id) {
            session.push_first(errand);
        }
    }

    /// The session has a lock that it cannot release. It takes no more locks, and ends with its
    /// last one. Returns the keys that it was to ask for.
    pub(super) fn retire(&mut self, id: SessionId) -> Vec<LockKey> {
        let Some(session) = self.table.get_mut(&id) else {
            return Vec::new();
        };
        session.doom();
        session.withdraw_asks()
    }

    /// Withdraws a try that has not been sent.
    pub(super) fn withdraw(&mut self, id: SessionId, key: LockKey) {
        if let Some(session) = self.table.get_mut(&id) {
            session.withdraw_try(key);
        }
    }

    pub(super) fn kick_all(&self, step: &mut Step<'_>) {
        for (id, session) in &self.table {
            if session.is_idle() {
                step.push(Effect::Kick(*id));
            }
        }
    }
}
