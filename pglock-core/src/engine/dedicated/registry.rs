//! The dedicated sessions of one manager.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::Dedicated;
use crate::error::{Error, Result};

/// What bounds the sessions of a manager together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// `None`: what the server's lock table suggests.
    pub(crate) max_locks: Option<usize>,
    pub(crate) max_waiters: usize,
}

pub(crate) struct Registry {
    pub(super) limits: Limits,
    sessions: Mutex<Sessions>,
}

#[derive(Default)]
struct Sessions {
    open: Vec<Weak<Dedicated>>,
    is_closed: bool,
}

impl Registry {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, sessions: Mutex::default() }
    }

    /// Adds a session, unless the manager is closed.
    pub(crate) fn add(&self, session: &Arc<Dedicated>) -> Result<()> {
        let mut sessions = self.lock();
        if sessions.is_closed {
            return Err(Error::closed());
        }
        sessions.open.retain(|session| session.strong_count() > 0);
        sessions.open.push(Arc::downgrade(session));
        Ok(())
    }

    /// The sessions that exist now. None follows.
    pub(crate) fn close(&self) -> Vec<Arc<Dedicated>> {
        self.lock().is_closed = true;
        self.all()
    }

    /// The server's numbers of the sessions that are open.
    pub(crate) fn pids(&self) -> Vec<i32> {
        self.all().iter().filter_map(|session| session.pid()).collect()
    }

    fn all(&self) -> Vec<Arc<Dedicated>> {
        self.lock().open.iter().filter_map(Weak::upgrade).collect()
    }

    /// The locks that they hold.
    pub(super) fn locks(&self) -> usize {
        self.all().iter().map(|session| session.locks()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
