//! What a session does at the server, and who needs the result.

use smallvec::SmallVec;

use crate::driver::Operation;
use crate::engine::machine::event::{GrantId, SessionId};
use crate::key::LockKey;
use crate::mode::Mode;

/// The errands of one statement. Most statements carry one.
pub(crate) type Errands = SmallVec<[Errand; 1]>;

/// An [`Operation`] and what its result is for. Drivers see only the operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Errand {
    /// For the key's ask.
    TryLock { key: LockKey, mode: Mode },
    /// For the key's ask.
    Probe { key: LockKey },
    /// For the key's ask; the session holds nothing.
    Lock { key: LockKey, mode: Mode },
    /// Releases the grant.
    Unlock { key: LockKey, mode: Mode, grant: GrantId },
    /// Turns the grant, a write lock, into a read lock.
    Downgrade { key: LockKey, grant: GrantId },
    /// Releases a lock that no grant accounts for.
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

    pub(crate) fn to_operation(self) -> Operation {
        match self {
            Self::TryLock { key, mode } => Operation::TryLock(key, mode),
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
