//! What a session does at the server, and whom the result concerns.

use smallvec::SmallVec;

use crate::driver::Operation;
use crate::engine::machine::event::{GrantId, SessionId};
use crate::key::LockKey;
use crate::mode::Mode;

/// Errands that go into one statement. Most go alone.
pub(crate) type Errands = SmallVec<[Errand; 1]>;

/// An [`Operation`] as the machine sees it: with what the result is for. Drivers know the operation
/// only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Errand {
    /// For the key's ask.
    TryLock { key: LockKey, mode: Mode },
    /// For the key's ask.
    Probe { key: LockKey },
    /// For the key's ask, in a session that holds nothing.
    Lock { key: LockKey, mode: Mode },
    /// Releases the grant.
    Unlock { key: LockKey, mode: Mode, grant: GrantId },
    /// Turns the grant, a write lock, into a read lock.
    Downgrade { key: LockKey, grant: GrantId },
    /// Releases a lock that no grant accounts for.
    Forget { key: LockKey, mode: Mode },
    /// Cancels the wait of this session, which has this backend pid.
    Cancel { target: SessionId, pid: i32 },
    /// For callers who wait until the session answers, if there is nothing else to send.
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
