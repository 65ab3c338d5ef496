//! What a session does at the server, and who needs the result.

use smallvec::SmallVec;

use crate::driver::Operation;
use crate::engine::machine::event::{GrantId, SessionId};
use crate::engine::machine::run::{Goal, Run};
use crate::key::LockKey;
use crate::mode::Mode;

/// The errands of one statement. Most statements carry one.
pub(crate) type Errands = SmallVec<[Errand; 1]>;

/// An [`Operation`] and what its result is for. Drivers see only the operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Errand {
    /// For the key's ask.
    TryLock { key: LockKey, mode: Mode, run: Option<Run> },
    /// For the key's ask.
    Probe { key: LockKey },
    /// For the key's ask; the session holds nothing.
    Lock { key: LockKey, mode: Mode },
    /// Releases the grant.
    Unlock { key: LockKey, mode: Mode, grant: GrantId },
    /// Turns the grant, a write lock, into a read lock.
    Downgrade { key: LockKey, grant: GrantId },
    /// Turns the grant, a write lock, into a read lock, and back unless others have come in.
    LetIn { key: LockKey, grant: GrantId },
    /// Nothing: its answer ends the round trip that the readers of the grant have.
    Linger { key: LockKey, grant: GrantId },
    /// Turns the grant, a read lock, into a write lock.
    Upgrade { key: LockKey, grant: GrantId },
    /// Releases a lock without a grant.
    Forget { key: LockKey, mode: Mode },
    /// Cancels the wait of this session, which has this backend pid.
    Cancel { target: SessionId, pid: i32 },
    /// Nothing: its answer is for callers that wait for one, if no other request is due.
    Ping,
}

impl Errand {
    pub(super) fn is_cancel(&self) -> bool {
        matches!(self, Self::Cancel { .. })
    }

    /// The run that it belongs to.
    pub(crate) fn run(&self) -> Option<Run> {
        match self {
            Self::TryLock { run, .. } => *run,
            _ => None,
        }
    }

    /// These errands, as they are sent in one statement.
    pub(crate) fn to_operations(errands: &[Self]) -> SmallVec<[Operation; 1]> {
        let run_of = |at: usize| errands.get(at).and_then(Self::run);
        let operation = |(at, errand): (usize, &Self)| match (*errand, run_of(at)) {
            (Self::TryLock { key, mode, .. }, Some(run)) => {
                let is_first = at == 0 || run_of(at - 1) != Some(run);
                let is_last = run_of(at + 1) != Some(run);
                match run.goal() {
                    _ if is_first && is_last => Operation::TryLock(key, mode),
                    _ if is_first => Operation::TryFirst(key, mode),
                    Goal::All => Operation::TryAlso(key, mode),
                    Goal::Any => Operation::TryInstead(key, mode),
                }
            }
            (errand, _) => errand.to_operation(),
        };
        errands.iter().enumerate().map(operation).collect()
    }

    /// Whether both may go into one statement.
    pub(super) fn travels_with(&self, other: &Self) -> bool {
        let is_upgrade = |errand: &Self| matches!(errand, Self::Upgrade { .. });
        self.is_cancel() == other.is_cancel() && !is_upgrade(self) && !is_upgrade(other)
    }

    pub(crate) fn to_operation(self) -> Operation {
        match self {
            Self::TryLock { key, mode, .. } => Operation::TryLock(key, mode),
            Self::Probe { key } => Operation::Probe(key),
            Self::Lock { key, mode } => Operation::Lock(key, mode),
            Self::Unlock { key, mode, .. } | Self::Forget { key, mode } => {
                Operation::Unlock(key, mode)
            }
            Self::Downgrade { key, .. } => Operation::Downgrade(key),
            Self::LetIn { key, .. } => Operation::LetIn(key),
            Self::Upgrade { key, .. } => Operation::Upgrade(key),
            Self::Cancel { pid, .. } => Operation::Cancel(pid),
            Self::Ping | Self::Linger { .. } => Operation::Ping,
        }
    }
}
