//! The sessions of the machine: what each is doing, and which one to use for what.

mod cancels;
mod cap;
mod choosing;
mod confirming;
mod connecting;
mod lease;
mod probing;
mod waiting;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use smallvec::SmallVec;

pub(super) use self::cap::Claims;
use self::confirming::Confirms;
use super::event::{Effect, Effects, HoldId, Moment, Server, SessionId, WaiterId};
use super::limits::Limits;
use crate::driver::Operation;
use crate::error::Error;
use crate::key::LockKey;
use crate::mode::Mode;

#[derive(Debug)]
pub(super) struct Sessions {
    pub(super) limits: Limits,
    table: BTreeMap<SessionId, Session>,
    next_id: u32,
    /// Keys that want a waiting session, first come first served.
    pub(super) line: BTreeMap<Place, LockKey>,
    next_place: u64,
    alarms: BinaryHeap<Reverse<(Moment, Alarm)>>,
    /// Attempts to connect, or sessions without one good answer, since the last good answer.
    failures: u32,
    not_before: Moment,
    /// Since when there is no connection, if there was one before.
    pub(super) down_since: Option<Moment>,
    /// What the session that was opened last has learnt.
    pub(super) server: Option<Server>,
    /// Locks at the server.
    pub(super) claims: Claims,
    /// Keys that are asked for once the locks asked for now leave room below the cap.
    pub(super) parked: VecDeque<LockKey>,
    /// Callers that wait.
    pub(super) queued: usize,
    pub(super) counts: Counts,
    random: u64,
}

/// What has happened since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) grants: u64,
    pub(super) hand_overs: u64,
    pub(super) losses: u64,
    pub(super) reconnects: u64,
    /// Sessions that have ended unasked and were not replaced yet.
    pub(super) missing: u64,
}

/// Where a key stands in line for a waiting session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place(u64);

#[derive(Debug)]
pub(super) struct Session {
    pub(super) role: Role,
    pub(super) phase: Phase,
    pub(super) pid: i32,
    pub(super) outbox: VecDeque<Op>,
    /// Who wants to know about which key, and whether they had their turn just now.
    pub(super) looks: Vec<Look>,
    pub(super) has_looked: bool,
    pub(super) confirms: Confirms,
    /// Locks the server has granted to it.
    pub(super) held: usize,
    /// Cancels aimed at it that are not answered: until then no statement of its own may be hit.
    pub(super) cancels: u32,
    /// Since when its wait is being cancelled.
    pub(super) cancel_since: Option<Moment>,
    /// A cancel aimed at it may still come: it must not be used again.
    pub(super) doomed: bool,
    answered: bool,
    /// When what it is doing, or did last, was sent.
    pub(super) sent: Moment,
    /// When that was sent which it answered last.
    confirmed: Moment,
    /// The part of this that its guards have been told.
    told: Option<Moment>,
    /// When it was last asked what it holds, and whether it is to be asked now.
    pub(super) asked: Moment,
    pub(super) beat: bool,
    /// When that was sent which confirmed what it holds last.
    pub(super) heartbeat: Option<Moment>,
    /// An alarm is set to look at its lease.
    leased: bool,
    /// An alarm is set to look whether it waits still.
    patient: bool,
    idle_since: Moment,
    /// An alarm is set to look whether it is idle still.
    watched: bool,
}

/// `Shared`: holds many keys, runs only what answers at once. `Waiting`: waits for one key while it holds nothing, then holds that key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Shared,
    Waiting,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// To be connected when its turn comes: one attempt at a time.
    Planned,
    Opening,
    Idle,
    Running(Ops),
    /// A wait has failed and may hold the lock all the same: give back everything. `Some`: that is running.
    CleanUp {
        failed: Op,
        error: Error,
        running: bool,
    },
    /// Ask what is held. Some of these operations may have been done; with none, this is a heartbeat.
    Reconcile {
        doubtful: Ops,
        error: Option<Error>,
        running: bool,
    },
    Looking(Vec<Look>),
    Closing,
}

/// One who wants to know who holds and awaits this key, or any.
pub(super) type Look = (Onlooker, Option<LockKey>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Onlooker {
    Caller(WaiterId),
    /// The machine, about a session that has waited for long.
    Wait(SessionId),
}

/// What is sent in one statement. Most are alone.
pub(super) type Ops = SmallVec<[Op; 1]>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Op {
    Try {
        key: LockKey,
        mode: Mode,
    },
    Probe {
        key: LockKey,
    },
    Lock {
        key: LockKey,
        mode: Mode,
    },
    Unlock {
        key: LockKey,
        mode: Mode,
        hold: HoldId,
    },
    /// Turns a write lock into a read lock.
    Downgrade {
        key: LockKey,
        hold: HoldId,
    },
    /// Gives back what no hold accounts for.
    Forget {
        key: LockKey,
        mode: Mode,
    },
    Cancel {
        target: SessionId,
        pid: i32,
    },
    /// Something must be answered, and there is nothing else to do.
    Ping,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Alarm {
    Poll(LockKey),
    Share(LockKey),
    CancelAgain(SessionId),
    Connect,
    Lease(SessionId),
    Wait(SessionId),
    CloseIdle(SessionId),
}

impl Sessions {
    pub(super) fn new(limits: Limits, seed: u64) -> Self {
        Self {
            limits,
            table: BTreeMap::new(),
            next_id: 0,
            line: BTreeMap::new(),
            next_place: 0,
            alarms: BinaryHeap::new(),
            failures: 0,
            not_before: Moment::ZERO,
            down_since: None,
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
        self.iter().filter(move |(_, session)| session.role == role)
    }

    pub(super) fn ids(&self) -> Vec<SessionId> {
        self.table.keys().copied().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub(super) fn remove(&mut self, id: SessionId) -> Option<Session> {
        self.table.remove(&id)
    }

    /// Queues an operation; the session is told that it has something to do.
    pub(super) fn push(&mut self, id: SessionId, op: Op, fx: &mut Effects) {
        let session = self.table.get_mut(&id).expect("operations go to sessions of the table");
        session.outbox.push_back(op);
        // A running session asks for its next job by itself.
        if matches!(session.phase, Phase::Idle) && session.outbox.len() == 1 {
            fx.push(Effect::Kick(id));
        }
    }

    /// Queues an operation of a session that is about to ask for its next job.
    pub(super) fn push_first(&mut self, id: SessionId, op: Op) {
        let session = self.table.get_mut(&id);
        let outbox = session.map(|session| &mut session.outbox);
        if let Some(outbox) = outbox.filter(|outbox| !outbox.contains(&op)) {
            outbox.push_front(op);
        }
    }

    pub(super) fn kick_all(&self, fx: &mut Effects) {
        for (id, session) in &self.table {
            if matches!(session.phase, Phase::Idle) {
                fx.push(Effect::Kick(*id));
            }
        }
    }

    pub(super) fn alarm_at(&mut self, at: Moment, alarm: Alarm) {
        self.alarms.push(Reverse((at, alarm)));
    }

    pub(super) fn next_alarm(&self) -> Option<Moment> {
        self.alarms.peek().map(|Reverse((at, _))| *at)
    }

    pub(super) fn due_alarm(&mut self, now: Moment) -> Option<(Moment, Alarm)> {
        let Reverse((at, _)) = self.alarms.peek()?;
        if *at > now {
            return None;
        }
        self.alarms.pop().map(|Reverse(alarm)| alarm)
    }
}

impl Session {
    fn planned(role: Role, now: Moment) -> Self {
        Self {
            role,
            phase: Phase::Planned,
            pid: 0,
            outbox: VecDeque::new(),
            looks: Vec::new(),
            has_looked: false,
            confirms: Confirms::default(),
            held: 0,
            cancels: 0,
            cancel_since: None,
            doomed: false,
            answered: false,
            sent: now,
            confirmed: now,
            told: None,
            asked: now,
            beat: false,
            heartbeat: None,
            leased: false,
            patient: false,
            idle_since: now,
            watched: false,
        }
    }

    fn is_being_cancelled(&self) -> bool {
        self.cancel_since.is_some() && matches!(self.phase, Phase::Running(_))
    }

    /// Whether it ended before it had been of any use.
    pub(super) fn has_failed(&self) -> bool {
        !self.answered && !matches!(self.phase, Phase::Planned | Phase::Closing)
    }

    pub(super) fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::Planned | Phase::Opening)
    }

    fn is_usable(&self) -> bool {
        !self.doomed && !matches!(self.phase, Phase::Closing)
    }

    fn load(&self) -> usize {
        self.held + self.outbox.len()
    }

    fn is_free_to_wait(&self) -> bool {
        self.role == Role::Waiting && matches!(self.phase, Phase::Idle) && self.is_spare()
    }

    /// Whether it is free to wait, now or once it has answered a question.
    fn is_about_to_be_free(&self) -> bool {
        self.role == Role::Waiting && self.is_at_hand() && self.is_spare()
    }

    /// Whether it will do what it is told next, now or once it has answered a question.
    fn is_at_hand(&self) -> bool {
        match &self.phase {
            Phase::Idle | Phase::Looking(_) => !self.doomed,
            Phase::Reconcile { doubtful, .. } => doubtful.is_empty() && !self.doomed,
            _ => false,
        }
    }

    /// Whether it holds nothing and nobody wants anything of it.
    fn is_spare(&self) -> bool {
        self.held == 0
            && self.outbox.is_empty()
            && self.looks.is_empty()
            && self.confirms.is_empty()
            && self.cancels == 0
            && !self.doomed
    }
}

impl Op {
    pub(super) fn to_operation(self) -> Operation {
        match self {
            Self::Try { key, mode } => Operation::TryLock(key, mode),
            Self::Probe { key } => Operation::Probe(key),
            Self::Lock { key, mode } => Operation::Lock(key, mode),
            Self::Unlock { key, mode, .. } | Self::Forget { key, mode } => {
                Operation::Unlock(key, mode)
            }
            Self::Downgrade { key, .. } => Operation::Downgrade(key),
            Self::Cancel { pid, .. } => Operation::Cancel(pid),
            Self::Ping => Operation::Ping,
        }
    }
}
