//! One session: its connection, what is in flight, and what must be settled first.
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
//! A session may end in any of these states: because its connection or its lease ends, or because
//! it is no longer known what it holds. Then all its guards have lost their locks.

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
    /// What has been sent and not answered.
    in_flight: Option<InFlight>,
    /// What must be settled before anything else is sent.
    doubt: Option<Doubt>,
    pid: i32,
    outbox: VecDeque<Errand>,
    /// Its inquiries, and whether the last job was one.
    inquiries: Vec<Inquiry>,
    inquired_last: bool,
    acknowledgements: Acknowledgements,
    /// How many locks the server has granted to it.
    grants: usize,
    /// Unanswered cancels aimed at it. Until they are answered, it must not run a statement that
    /// they could hit.
    cancels: u32,
    /// When the cancelling of its wait began.
    cancel_since: Option<Moment>,
    /// It must not be used again, because a cancel may still arrive, or because it has a lock that
    /// it cannot release.
    doomed: bool,
    /// The maximum number of errands in its next statement, after a refusal.
    batch_limit: Option<usize>,
    /// Whether it has given a good answer.
    has_answered: bool,
    /// When the last request was sent to it.
    last_sent: Moment,
    /// Send time of the last request that it answered.
    lease_start: Moment,
    /// The start of the lease that its guards know.
    announced_start: Option<Moment>,
    /// When the last heartbeat was sent to it, and whether one is due.
    last_heartbeat: Moment,
    heartbeat_due: bool,
    idle_since: Moment,
}

/// `Shared`: holds many keys, and runs only what the server answers at once. `Waiting`: waits for
/// one key while it holds nothing, then holds that key. If it holds it for long while other keys
/// want to wait, it becomes shared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Shared,
    Waiting,
}

/// The state of a session's connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Link {
    /// Connects when its turn comes: one attempt at a time.
    Planned,
    Opening,
    Open,
    Closing,
}

/// The request that is with the server.
#[derive(Debug)]
pub(crate) enum InFlight {
    Errands(Errands),
    /// The clean-up after a failed wait.
    ReleaseAll,
    /// The question what the session holds: to settle a doubt, or as a heartbeat.
    Holdings,
    /// All checks, or all other inquiries.
    Inquiries(Vec<Inquiry>),
    /// Nothing: its answer is being handled, and it will ask for its next job.
    Answered,
}

/// What may or may not have had an effect.
#[derive(Debug)]
pub(crate) enum Doubt {
    /// A wait has failed, but may have been granted: release everything.
    Wait { key: LockKey, refusal: Refusal },
    /// The locks that the session holds will show. Without a refusal, a wait was granted late, or,
    /// without errands, a refused proof may have left a lock.
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

    /// It must be closed, and what is in flight does not matter any more.
    pub(super) fn close(&mut self) {
        self.link = Link::Closing;
        self.in_flight = None;
    }

    /// A request was sent.
    pub(super) fn send(&mut self, what: InFlight, now: Moment) {
        self.last_sent = now;
        self.acknowledgements.note_sent();
        self.in_flight = Some(what);
    }

    /// The request was answered, and the answer is about to be handled.
    pub(super) fn take_answered(&mut self) -> Option<InFlight> {
        self.in_flight.replace(InFlight::Answered)
    }

    /// Nothing is in flight.
    pub(super) fn rest(&mut self) {
        self.in_flight = None;
    }

    /// Nothing is in flight, and the last request was useful.
    pub(super) fn begin_idle(&mut self, now: Moment) {
        self.rest();
        self.idle_since = now;
    }

    pub(super) fn rest_in_doubt(&mut self, doubt: Doubt) {
        self.in_flight = None;
        self.doubt = Some(doubt);
    }

    /// The server has granted it another lock.
    pub(super) fn gain_grant(&mut self) {
        self.grants += 1;
    }

    pub(super) fn lose_grant(&mut self) {
        self.grants -= 1;
    }

    /// It has long held the lock that it waited for, and now takes other locks, too.
    pub(super) fn become_shared(&mut self) {
        self.role = Role::Shared;
    }

    /// It has given a good answer. Returns true if it was the first one.
    pub(super) fn note_success(&mut self) -> bool {
        !std::mem::replace(&mut self.has_answered, true)
    }

    pub(super) fn take_doubt(&mut self) -> Option<Doubt> {
        self.doubt.take()
    }

    /// The job that comes before errands, if any. Inquiries take turns with errands.
    /// `most`: how many operations go into a statement.
    pub(super) fn urgent_job(&mut self, is_closed: bool, most: usize, now: Moment) -> Option<Job> {
        // A late cancel may hit whatever it does next.
        if self.doomed && self.grants == 0 && self.in_flight.is_none() {
            self.close();
        }
        if self.link == Link::Closing {
            return Some(Job::Close);
        }
        // What is meant for a wait must not hit anything else.
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
        self.send_inquiries(most, now)
    }
}
