//! The inputs and outputs of the state machine.

mod id;
mod moment;

use std::time::Duration;

use smallvec::SmallVec;

pub(crate) use self::moment::Moment;
use super::run::{Goal, Member};
use crate::driver::{Answer, Holding, Operation, Reason};
use crate::error::Error;
use crate::key::LockKey;
use crate::looking::LockEntry;
use crate::mode::Mode;
use crate::token::FencingToken;

pub(crate) use self::id::{Arrival, CallerId, GrantId, SessionId};
/// Whether a caller waits for a lock that is not free.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Patience {
    Try,
    Wait,
}

/// What a session has learnt about its server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct ServerFacts {
    /// The session's backend pid.
    pub(crate) pid: i32,
    pub(crate) version: i64,
    /// Whether the server ends silent sessions. `None` if clients of this server cannot fall
    /// silent.
    pub(crate) has_lease: Option<bool>,
    /// Whether the session may cancel the statements of the manager's other sessions.
    pub(crate) can_cancel: bool,
    /// How long a session waits before the server looks for a deadlock.
    pub(crate) deadlock_timeout: Duration,
    /// The size of the lock table that all users share, if the server reports it.
    pub(crate) lock_table: Option<usize>,
    /// Which server, and which of its databases.
    pub(crate) identity: (i64, i64),
    /// The number of promotions.
    pub(crate) timeline: i64,
}

#[derive(Debug)]
pub(crate) enum Event {
    /// A caller wants the lock. Resolved by [`Outcome::Granted`], [`Outcome::Busy`] or
    /// [`Outcome::Failed`].
    Acquire { caller: CallerId, key: LockKey, mode: Mode, patience: Patience },
    /// A caller tries several locks, each of which depends on the one before it. Each is resolved
    /// by [`Outcome::Granted`], [`Outcome::Busy`], [`Outcome::Skipped`] or [`Outcome::Failed`].
    AcquireRun { members: Vec<Member>, goal: Goal },
    /// A guard for writing is one for reading from now on.
    Downgrade { key: LockKey, grant: GrantId },
    /// The lock does not pass to another caller of this process: when its guards have ended, it goes
    /// back to the server.
    EndHandOvers { key: LockKey, grant: GrantId },
    /// A guard for reading wants to be one for writing. Resolved by [`Outcome::Upgraded`],
    /// [`Outcome::Busy`] or [`Outcome::Failed`].
    Upgrade { caller: CallerId, key: LockKey, grant: GrantId, patience: Patience },
    /// A caller left before it was resolved: its future was dropped or its time ran out.
    Abandon { caller: CallerId, key: LockKey },
    /// A guard has ended. With a `releaser`, resolved by [`Outcome::Released`] or
    /// [`Outcome::Failed`].
    Release { key: LockKey, grant: GrantId, releaser: Option<CallerId> },
    /// A caller wants to know who holds and awaits this key, or any key. Resolved by
    /// [`Outcome::Inspected`] or [`Outcome::Failed`].
    Inspect { caller: CallerId, key: Option<LockKey> },
    /// A caller wants to know whether locks can be acquired now. Resolved by [`Outcome::Checked`]
    /// or [`Outcome::Failed`].
    Check { caller: CallerId },
    /// A guard wants a proof of the session that holds its lock. Resolved by [`Outcome::Seen`],
    /// [`Outcome::Token`] or [`Outcome::Failed`].
    Prove { caller: CallerId, key: LockKey, grant: GrantId, proof: Proof },
    /// One that inspects, checks or wants a proof has gone before it was resolved.
    AbandonInquiry { caller: CallerId },
    /// A report of a session.
    Inspected { session: SessionId, locks: Vec<LockEntry> },
    /// The session is connected and set up.
    Opened { session: SessionId, server: ServerFacts },
    /// The session could not be connected. With `permanent`, no other session could be.
    OpenFailed { session: SessionId, error: Error, permanent: bool },
    /// The fencing token that the session was given; `None` if another session has answered.
    Minted { session: SessionId, token: Option<FencingToken> },
    /// The results of the session's last operations.
    Answered { session: SessionId, answer: Answer },
    /// The locks that the session holds; `None` if another server session answered.
    Found { session: SessionId, holdings: Option<Vec<Holding>> },
    /// The server refused the session's last job. The session continues.
    Refused { session: SessionId, refusal: Refusal },
    /// The session has ended, whatever it was doing.
    Ended { session: SessionId, error: Error },
    /// The time of [`Machine::poll_timeout`](super::Machine::poll_timeout) has come.
    Tick,
    /// Refuse new acquires and release everything. The reason is for later callers; the first
    /// reason counts.
    Close { why: Error },
}

impl Event {
    /// The session that reports the event, if it comes from one.
    pub(crate) fn session(&self) -> Option<SessionId> {
        match *self {
            Self::Inspected { session, .. }
            | Self::Minted { session, .. }
            | Self::Opened { session, .. }
            | Self::OpenFailed { session, .. }
            | Self::Answered { session, .. }
            | Self::Found { session, .. }
            | Self::Refused { session, .. }
            | Self::Ended { session, .. } => Some(session),
            Self::Acquire { .. }
            | Self::AcquireRun { .. }
            | Self::Downgrade { .. }
            | Self::EndHandOvers { .. }
            | Self::Upgrade { .. }
            | Self::Abandon { .. }
            | Self::Release { .. }
            | Self::Inspect { .. }
            | Self::Check { .. }
            | Self::Prove { .. }
            | Self::AbandonInquiry { .. }
            | Self::Tick
            | Self::Close { .. } => None,
        }
    }
}

/// What only the session that holds a lock can do, so that the lock was held when it did it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Proof {
    /// Sees that another session has this key.
    Sees(LockKey),
    /// Is given a fencing token.
    Token,
}

/// A statement that the server refused.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) error: Error,
    pub(crate) reason: Reason,
}

#[derive(Debug)]
pub(crate) enum Effect {
    Resolve {
        caller: CallerId,
        outcome: Outcome,
    },
    /// Connect this session.
    Open(SessionId),
    /// The session has something to do: call [`Machine::poll_job`](super::Machine::poll_job).
    Kick(SessionId),
    /// The guards of the session count as held until then.
    LeaseRenewed {
        session: SessionId,
        until: Moment,
    },
    /// Every guard of the session has lost its lock; this is their number. This comes before any
    /// other caller is granted one of these locks.
    Lost {
        session: SessionId,
        held: usize,
        error: Error,
    },
    /// Drop the session, whatever it is doing.
    Abort(SessionId),
    /// Log that the session's wait for the key was ended from outside this process, and begins
    /// anew.
    WaitCancelled {
        session: SessionId,
        key: LockKey,
        error: Error,
    },
    /// Log that the session has lost the right to cancel waits.
    CancelRefused {
        session: SessionId,
        error: Error,
    },
    /// There is no open session left: this one has ended, or could not be opened.
    Down {
        session: SessionId,
        error: Error,
    },
    /// The outage that began with the last [`Down`](Self::Down) is over: this session answers.
    Up {
        session: SessionId,
        down_for: Duration,
    },
}

#[derive(Debug)]
pub(crate) enum Outcome {
    Granted {
        grant: GrantId,
        session: SessionId,
    },
    Busy,
    /// The try was not made, because of one before it in its run, or because it has to be made
    /// alone.
    Skipped,
    Upgraded,
    Released,
    Inspected(Vec<LockEntry>),
    Checked,
    /// Whether another session has the key of the proof.
    Seen(bool),
    Token(FencingToken),
    Failed(Error),
}

/// What a session does next.
#[derive(Debug)]
pub(crate) enum Job {
    Run(SmallVec<[Operation; 1]>),
    /// Ask which locks the session holds.
    Holdings,
    /// Ask who holds and awaits this key, or any key.
    Inspect(Option<LockKey>),
    /// Ask for a fencing token.
    Token,
    /// Nothing: watch the connection until kicked.
    Idle,
    Close,
}

/// Effects in the order in which they are to happen.
#[derive(Debug, Default)]
pub(crate) struct Effects(pub(crate) Vec<Effect>);
