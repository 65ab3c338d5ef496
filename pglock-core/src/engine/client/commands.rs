//! The commands that callers send to the machine, each with its possible replies.

use std::sync::Arc;

use crate::engine::machine::event::{CallerId, Event, GrantId, Patience};
use crate::engine::runtime::Reply;
use crate::engine::runtime::liveness::Liveness;
use crate::error::{Error, Result};
use crate::key::LockKey;
use crate::looking::LockEntry;
use crate::mode::Mode;

pub(super) trait Command {
    type Reply;

    /// The event for the machine. Called once.
    fn event(&mut self, caller: CallerId) -> Event;

    /// The event for a caller that leaves before the reply.
    fn abandon(&self, caller: CallerId) -> Event;

    /// Reads the reply. Fails if the reply belongs to another command.
    fn read(&self, reply: Reply) -> Result<Self::Reply>;

    /// The event that undoes the command if its caller has left when the reply arrives.
    fn undo(&self, _reply: &Reply) -> Option<Event> {
        None
    }
}

/// Takes a lock.
pub(super) struct Acquire {
    pub(super) key: LockKey,
    pub(super) mode: Mode,
    pub(super) patience: Patience,
}

/// A lock that is held until it is released or its session ends.
pub(super) struct Granted {
    pub(super) grant: GrantId,
    pub(super) liveness: Arc<Liveness>,
}

impl Command for Acquire {
    /// `None`: the lock is busy.
    type Reply = Option<Granted>;

    fn event(&mut self, caller: CallerId) -> Event {
        let Self { key, mode, patience } = *self;
        Event::Acquire { caller, key, mode, patience }
    }

    fn abandon(&self, caller: CallerId) -> Event {
        Event::Abandon { caller, key: self.key }
    }

    fn read(&self, reply: Reply) -> Result<Option<Granted>> {
        match reply {
            Reply::Granted { grant, liveness } => Ok(Some(Granted { grant, liveness })),
            Reply::Busy => Ok(None),
            other => Err(other.into_error()),
        }
    }

    fn undo(&self, reply: &Reply) -> Option<Event> {
        match reply {
            Reply::Granted { grant, .. } => {
                Some(Event::Release { key: self.key, grant: *grant, releaser: None })
            }
            _ => None,
        }
    }
}

/// Turns the read lock of a guard into the write lock. If this is abandoned, the guard has the read
/// lock.
pub(super) struct Upgrade {
    pub(super) key: LockKey,
    pub(super) grant: GrantId,
    pub(super) patience: Patience,
}

impl Command for Upgrade {
    /// False: others read, too.
    type Reply = bool;

    fn event(&mut self, caller: CallerId) -> Event {
        let Self { key, grant, patience } = *self;
        Event::Upgrade { caller, key, grant, patience }
    }

    fn abandon(&self, caller: CallerId) -> Event {
        Event::Abandon { caller, key: self.key }
    }

    fn read(&self, reply: Reply) -> Result<bool> {
        match reply {
            Reply::Upgraded => Ok(true),
            Reply::Busy => Ok(false),
            other => Err(other.into_error()),
        }
    }

    /// The guard is one for reading, as it does not know better.
    fn undo(&self, reply: &Reply) -> Option<Event> {
        let is_upgraded = matches!(reply, Reply::Upgraded);
        is_upgraded.then_some(Event::Downgrade { key: self.key, grant: self.grant })
    }
}

/// Releases a lock, and waits until the server has released it.
pub(super) struct Release<'a> {
    pub(super) key: LockKey,
    pub(super) grant: GrantId,
    /// Emptied when the command is sent, so that the guard does not release the lock again.
    pub(super) held: &'a mut Option<GrantId>,
}

impl Command for Release<'_> {
    type Reply = ();

    fn event(&mut self, caller: CallerId) -> Event {
        *self.held = None;
        Event::Release { key: self.key, grant: self.grant, releaser: Some(caller) }
    }

    fn abandon(&self, caller: CallerId) -> Event {
        Event::Abandon { caller, key: self.key }
    }

    fn read(&self, reply: Reply) -> Result<()> {
        match reply {
            Reply::Released => Ok(()),
            other => Err(other.into_error()),
        }
    }
}

/// Lists who holds and awaits this key, or any key.
pub(super) struct Inspect(pub(super) Option<LockKey>);

impl Command for Inspect {
    type Reply = Vec<LockEntry>;

    fn event(&mut self, caller: CallerId) -> Event {
        Event::Inspect { caller, key: self.0 }
    }

    fn abandon(&self, caller: CallerId) -> Event {
        Event::AbandonInquiry { caller }
    }

    fn read(&self, reply: Reply) -> Result<Vec<LockEntry>> {
        match reply {
            Reply::Inspected(locks) => Ok(locks),
            other => Err(other.into_error()),
        }
    }
}

/// Makes one round trip to the server.
pub(super) struct Check;

impl Command for Check {
    type Reply = ();

    fn event(&mut self, caller: CallerId) -> Event {
        Event::Check { caller }
    }

    fn abandon(&self, caller: CallerId) -> Event {
        Event::AbandonInquiry { caller }
    }

    fn read(&self, reply: Reply) -> Result<()> {
        match reply {
            Reply::Checked => Ok(()),
            other => Err(other.into_error()),
        }
    }
}

impl Reply {
    /// The error for a reply that is not a result of the command.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Failed(error) => *error,
            _ => Error::mismatched_reply(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn reply_to_another_command_is_an_error() {
        let acquire = Acquire { key: LockKey::from(7), mode: Mode::Read, patience: Patience::Try };
        let upgrade = Upgrade { key: LockKey::from(7), grant: GrantId(0), patience: Patience::Try };
        let release = Release { key: LockKey::from(7), grant: GrantId(0), held: &mut None };
        let errors = [
            acquire.read(Reply::Released).err(),
            upgrade.read(Reply::Released).err(),
            release.read(Reply::Busy).err(),
            Inspect(None).read(Reply::Checked).err(),
            Check.read(Reply::Inspected(Vec::new())).err(),
        ];
        for error in errors {
            assert!(error.is_some_and(|error| error.to_string().starts_with("internal error")));
        }
    }

    #[test]
    fn every_command_may_fail() {
        let failed = Reply::Failed(Box::new(Error::closed()));
        let error = Check.read(failed).err();
        assert!(error.is_some_and(|error| error.kind() == ErrorKind::Closed));
    }
}
