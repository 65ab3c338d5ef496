//! One session: what its connection is, what is in flight, and what must be settled first.
//!
//! ```text
//!           its turn           set up           not to be used any more
//! Planned ──────────► Opening ────────► Open ─────────────────────────► Closing
//! ```
//!
//! While it is open, at most one [`InFlight`] is with the server. [`Session::urgent_job`] and
//! `Machine::poll_job` choose the next one:
//!
//! ```text
//!          1. a wait failed        ┌────────────┐ all is released
//!         ┌───────────────────────►│ ReleaseAll ├─────────────────┐
//!         │                        └────────────┘                 │
//!         │ 2. a batch failed, or a wait was granted late         │
//!         │ 3. a heartbeat is due  ┌────────────┐ the doubt       │
//! ┌───────┴──────┐────────────────►│  Holdings  ├─────────────────┤
//! │   nothing    │                 └────────────┘ is settled      │
//! │ is in flight │ 4. in turns     ┌────────────┐                 │
//! │              │────────────────►│ Inquiries  ├─────────────────┤
//! └───────┬──────┘                 └────────────┘                 ▼
//!         │        5. in turns     ┌────────────┐            ┌──────────┐
//!         └───────────────────────►│  Errands   ├───────────►│ Answered │ ─► nothing
//!                                  └─────┬──────┘            └──────────┘
//!                                        │ refused, or granted late
//!                                        ▼
//!                                      Doubt, and nothing
//! ```
//!
//! A session may end from any of these: by its connection, by its lease, or because what it holds
//! cannot be told any more. Then all its guards have lost their locks.

mod acknowledgements;
mod cancels;
pub(super) mod errand;
mod inquiries;
mod lease;
mod outbox;
mod status;

use std::collections::VecDeque;

use smallvec::smallvec;

use self::acknowledgements::Acknowledgements;
pub(super) use self::errand::{Errand, Errands};
use crate::driver::Operation;
use crate::engine::machine::event::{Job, Moment, Refusal};
use crate::engine::machine::inquiry::Inquiry;
use crate::key::LockKey;

#[derive(Debug)]
pub(crate) struct Session {
    role: Role,
    link: Link,
    /// What has been sent, and is not answered.
    in_flight: Option<InFlight>,
    /// What must be settled before anything else is sent.
    doubt: Option<Doubt>,
    pid: i32,
    outbox: VecDeque<Errand>,
    /// What it is to find out, and whether it did so just now.
    inquiries: Vec<Inquiry>,
    inquired_last: bool,
    acknowledgements: Acknowledgements,
    /// How many locks the server has granted to it.
    grants: usize,
    /// Cancels aimed at it that are not answered: until then no statement of its own may be hit.
    cancels: u32,
    /// Since when its wait is being cancelled.
    cancel_since: Option<Moment>,
    /// A cancel aimed at it may still come, or it has a lock that is nobody's: it must not be used
    /// again.
    doomed: bool,
    /// How many errands its next statement carries at most, after one was refused.
    batch_limit: Option<usize>,
    /// Whether it has given a good answer.
    has_answered: bool,
    /// When it was sent something last.
    last_sent: Moment,
    /// When it was sent what it has answered last.
    lease_start: Moment,
    /// The start of the lease that its guards know of.
    announced_start: Option<Moment>,
    /// When it was sent a heartbeat last, and whether one is due.
    last_heartbeat: Moment,
    heartbeat_due: bool,
    idle_since: Moment,
}

/// `Shared`: holds many keys, runs only what answers at once. `Waiting`: waits for one key while it
/// holds nothing, then holds that key. If it does so for long while other keys want to wait, it
/// becomes a shared one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Shared,
    Waiting,
}

/// What the connection of a session is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Link {
    /// To be connected when its turn comes: one attempt at a time.
    Planned,
    Opening,
    Open,
    Closing,
}

/// What is with the server.
#[derive(Debug)]
pub(crate) enum InFlight {
    Errands(Errands),
    /// The clean-up after a wait that has failed.
    ReleaseAll,
    /// The question what the session holds: for its doubt, or as a heartbeat.
    Holdings,
    /// All checks, or all others.
    Inquiries(Vec<Inquiry>),
    /// Nothing any more: its answer is being seen to, and the next job will be asked for.
    Answered,
}

/// What may or may not have been done.
#[derive(Debug)]
pub(crate) enum Doubt {
    /// A wait has failed, and may hold the lock all the same: everything is to be released.
    Wait { key: LockKey, refusal: Refusal },
    /// What the session holds tells. Without a refusal, a wait was granted late.
    Errands { errands: Errands, refusal: Option<Refusal> },
}

/// Transitions.
impl Session {
    pub(super) fn planned(role: Role, now: Moment) -> Self {
        Self {
            role,
            link: Link::Planned,
            in_flight: None,
            doubt: None,
            pid: 0,
            outbox: VecDeque::new(),
            inquiries: Vec::new(),
            inquired_last: false,
            acknowledgements: Acknowledgements::default(),
            grants: 0,
            cancels: 0,
            cancel_since: None,
            doomed: false,
            batch_limit: None,
            has_answered: false,
            last_sent: now,
            lease_start: now,
            announced_start: None,
            last_heartbeat: now,
            heartbeat_due: false,
            idle_since: now,
        }
    }

    pub(super) fn connect(&mut self, now: Moment) {
        self.link = Link::Opening;
        self.last_sent = now;
    }

    pub(super) fn open(&mut self, pid: i32) {
        self.link = Link::Open;
        self.pid = pid;
        self.last_heartbeat = self.last_sent;
    }

    /// It is to be closed, and what is in flight does not matter any more.
    pub(super) fn close(&mut self) {
        self.link = Link::Closing;
        self.in_flight = None;
    }

    /// Sends something.
    pub(super) fn send(&mut self, what: InFlight, now: Moment) {
        self.last_sent = now;
        self.acknowledgements.note_sent();
        self.in_flight = Some(what);
    }

    /// What was sent is answered, and the answer is about to be seen to.
    pub(super) fn take_answered(&mut self) -> Option<InFlight> {
        self.in_flight.replace(InFlight::Answered)
    }

    /// Nothing is in flight.
    pub(super) fn rest(&mut self) {
        self.in_flight = None;
    }

    /// Nothing is in flight, and what it did last was of use.
    pub(super) fn begin_idle(&mut self, now: Moment) {
        self.rest();
        self.idle_since = now;
    }

    pub(super) fn rest_in_doubt(&mut self, doubt: Doubt) {
        self.in_flight = None;
        self.doubt = Some(doubt);
    }

    /// The server has granted it one more lock.
    pub(super) fn gain_grant(&mut self) {
        self.grants += 1;
    }

    pub(super) fn lose_grant(&mut self) {
        self.grants -= 1;
    }

    /// It has held the lock that it waited for for long, and is to hold others as well.
    pub(super) fn become_shared(&mut self) {
        self.role = Role::Shared;
    }

    /// It has given a good answer. True if it was the first one.
    pub(super) fn note_success(&mut self) -> bool {
        !std::mem::replace(&mut self.has_answered, true)
    }

    pub(super) fn take_doubt(&mut self) -> Option<Doubt> {
        self.doubt.take()
    }

    /// The job that comes before errands, if there is one. Inquiries take turns with them.
    pub(super) fn urgent_job(&mut self, is_closed: bool, now: Moment) -> Option<Job> {
        // A late cancel may hit whatever it does next.
        if self.doomed && self.grants == 0 && self.in_flight.is_none() {
            self.close();
        }
        if self.link == Link::Closing {
            return Some(Job::Close);
        }
        // Nothing else may be hit by what is meant for a wait.
        if !self.is_open() || self.in_flight.is_some() || self.cancels > 0 {
            return Some(Job::Idle);
        }
        match &self.doubt {
            Some(Doubt::Wait { .. }) => {
                self.send(InFlight::ReleaseAll, now);
                return Some(Job::Run(smallvec![Operation::UnlockAll]));
            }
            None if is_closed || !self.heartbeat_due => {}
            None | Some(Doubt::Errands { .. }) => {
                self.send(InFlight::Holdings, now);
                self.last_heartbeat = now;
                self.heartbeat_due = false;
                return Some(Job::Holdings);
            }
        }
        self.send_inquiries(now)
    }
}
