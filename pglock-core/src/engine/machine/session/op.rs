//! What a session is told to do at the server.

use smallvec::SmallVec;

use crate::driver::Operation;
use crate::engine::machine::event::{GrantId, SessionId};
use crate::key::LockKey;
use crate::mode::Mode;

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

impl Op {
    pub(super) fn is_cancel(&self) -> bool {
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
