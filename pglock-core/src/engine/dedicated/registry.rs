//! The dedicated sessions of one manager.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::Dedicated;
use crate::error::{Error, Result};

/// Limits that the sessions of a manager share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// `None`: what the server's lock table suggests.
    pub(crate) max_locks: Option<usize>,
    pub(crate) max_waiters: usize,
    /// How long a session waits at a time, so that it does not hold back vacuum: a random part of
    /// this, at least half. `None`: as long as its lease allows.
    pub(crate) wait_renewal: Option<Duration>,
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

    /// Refuses new sessions from now on, and returns those that exist.
    pub(crate) fn close(&self) -> Vec<Arc<Dedicated>> {
        self.lock().is_closed = true;
        self.all()
    }

    /// The backend pids of the open sessions.
    pub(crate) fn pids(&self) -> Vec<i32> {
        self.all().iter().filter_map(|session| session.pid()).collect()
    }

    fn all(&self) -> Vec<Arc<Dedicated>> {
        self.lock().open.iter().filter_map(Weak::upgrade).collect()
    }

    /// How many locks the sessions hold together.
    pub(super) fn locks(&self) -> usize {
        self.all().iter().map(|session| session.locks()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
