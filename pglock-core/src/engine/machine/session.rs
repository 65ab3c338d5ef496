//! One session, what it is doing, and what it may be told to do.

use std::collections::VecDeque;
use std::time::Duration;

use smallvec::SmallVec;

use super::sessions::acknowledgement::Acknowledgements;
use crate::driver::Operation;
use crate::engine::machine::event::{GrantId, Moment, Refusal, SessionId};
use crate::engine::machine::inquiry::Inquiry;
use crate::key::LockKey;
use crate::mode::Mode;

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) role: Role,
    pub(crate) phase: Phase,
    pub(crate) pid: i32,
    pub(crate) outbox: VecDeque<Op>,
    /// What it is to find out, and whether it did so just now.
    pub(crate) inquiries: Vec<Inquiry>,
    pub(crate) inquired_last: bool,
    pub(crate) acknowledgements: Acknowledgements,
    /// Locks the server has granted to it.
    pub(crate) held: usize,
    /// Cancels aimed at it that are not answered: until then no statement of its own may be hit.
    pub(crate) cancels: u32,
    /// Since when its wait is being cancelled.
    pub(crate) cancel_since: Option<Moment>,
    /// A cancel aimed at it may still come, or it has a lock that is nobody's: it must not be used
    /// again.
    pub(crate) doomed: bool,
    /// How many operations go into its next statement at most, after one was refused.
    pub(crate) narrowed: Option<usize>,
    pub(super) answered: bool,
    /// When what it is doing, or did last, was sent.
    pub(crate) sent: Moment,
    /// When that was sent which it answered last.
    pub(super) lease_start: Moment,
    /// The part of this that its guards have been told.
    pub(super) told: Option<Moment>,
    /// When it was last asked what it holds, and whether it is to be asked now.
    pub(crate) asked: Moment,
    pub(crate) beat: bool,
    pub(super) idle_since: Moment,
}

/// `Shared`: holds many keys, runs only what answers at once. `Waiting`: waits for one key while it
/// holds nothing, then holds that key. If it does so for long while other keys want to wait, it
/// becomes a shared one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Shared,
    Waiting,
}

#[derive(Debug)]
pub(crate) enum Phase {
    /// To be connected when its turn comes: one attempt at a time.
    Planned,
    Opening,
    Idle,
    Running(Ops),
    /// A wait has failed and may hold the lock all the same: give back everything. `Some`: that is
    /// running.
    CleanUp {
        failed: Op,
        refusal: Refusal,
        running: bool,
    },
    /// Ask what is held. Some of these operations may have been done; with none, this is a
    /// heartbeat.
    Reconcile {
        doubtful: Ops,
        refusal: Option<Refusal>,
        running: bool,
    },
    /// Answers these inquiries: all checks, or all others.
    Inquiring(Vec<Inquiry>),
    Closing,
}

/// What is sent in one statement. Most are alone.
pub(crate) type Ops = SmallVec<[Op; 1]>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
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
        grant: GrantId,
    },
    /// Turns a write lock into a read lock.
    Downgrade {
        key: LockKey,
        grant: GrantId,
    },
    /// Gives back what no grant accounts for.
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

impl Session {
    pub(super) fn planned(role: Role, now: Moment) -> Self {
        Self {
            role,
            phase: Phase::Planned,
            pid: 0,
            outbox: VecDeque::new(),
            inquiries: Vec::new(),
            inquired_last: false,
            acknowledgements: Acknowledgements::default(),
            held: 0,
            cancels: 0,
            cancel_since: None,
            doomed: false,
            narrowed: None,
            answered: false,
            sent: now,
            lease_start: now,
            told: None,
            asked: now,
            beat: false,
            idle_since: now,
        }
    }

    /// Cancels travel with each other only. Says how many operations the next statement may carry.
    pub(crate) fn group_cancels(&mut self) -> Option<usize> {
        if self.outbox.len() > 1 && self.outbox.front().is_some_and(Op::is_cancel) {
            let (cancels, others): (VecDeque<_>, VecDeque<_>) =
                self.outbox.drain(..).partition(Op::is_cancel);
            self.outbox = cancels;
            self.outbox.extend(others);
        }
        self.narrowed
    }

    /// The next operation, if it goes into one statement with these.
    pub(crate) fn take_op(&mut self, ops: &[Op]) -> Option<Op> {
        let with_cancels = ops.first().map(Op::is_cancel);
        let next = self.outbox.front()?;
        if with_cancels.is_some_and(|with_cancels| with_cancels != next.is_cancel()) {
            return None;
        }
        self.outbox.pop_front()
    }

    /// A statement of so many operations was refused: the next ones carry fewer, until the one that
    /// is at fault is alone.
    pub(crate) fn narrow(&mut self, refused: usize) {
        self.narrowed = Some((refused / 2).max(1));
    }

    /// A statement went well.
    pub(crate) fn widen(&mut self, most: usize) {
        self.narrowed = self.narrowed.map(|bound| bound * 2).filter(|bound| *bound < most);
    }

    pub(super) fn is_being_cancelled(&self) -> bool {
        self.cancel_since.is_some() && matches!(self.phase, Phase::Running(_))
    }

    /// Whether it ended before it had been of any use.
    pub(crate) fn has_failed(&self) -> bool {
        !self.answered && !matches!(self.phase, Phase::Planned | Phase::Closing)
    }

    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::Planned | Phase::Opening)
    }

    pub(super) fn is_usable(&self) -> bool {
        !self.doomed && !matches!(self.phase, Phase::Closing)
    }

    pub(super) fn load(&self) -> usize {
        self.held + self.outbox.len()
    }

    pub(super) fn is_free_to_wait(&self) -> bool {
        self.role == Role::Waiting && matches!(self.phase, Phase::Idle) && self.is_spare()
    }

    /// Whether it is free to wait, now or once it has answered a question.
    pub(crate) fn is_about_to_be_free(&self) -> bool {
        self.role == Role::Waiting && self.is_at_hand() && self.is_spare()
    }

    /// Whether it will do what it is told next, now or once it has answered a question.
    pub(super) fn is_at_hand(&self) -> bool {
        match &self.phase {
            Phase::Idle | Phase::Inquiring(_) => !self.doomed,
            Phase::Reconcile { doubtful, .. } => doubtful.is_empty() && !self.doomed,
            // What it did last has been answered, and is being seen to.
            Phase::Running(ops) => ops.is_empty() && !self.doomed,
            _ => false,
        }
    }

    pub(super) fn has_held_for(&self, time: Duration, now: Moment) -> bool {
        self.held > 0 && now >= self.idle_since + time
    }

    /// Whether it holds nothing and nobody wants anything of it.
    pub(super) fn is_spare(&self) -> bool {
        self.held == 0
            && self.outbox.is_empty()
            && self.inquiries.is_empty()
            && self.acknowledgements.is_empty()
            && self.cancels == 0
            && !self.doomed
    }
}

impl Op {
    fn is_cancel(&self) -> bool {
        matches!(self, Self::Cancel { .. })
    }

    pub(crate) fn to_operation(self) -> Operation {
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
