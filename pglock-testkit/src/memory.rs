//! A server in memory: locks for unit tests without PostgreSQL.
//!
//! To test code that takes an `Arc<dyn DistributedRwLock>` or a lock manager, give it [`memory()`].
//! Nothing needs to be installed:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> pglock_core::Result<()> {
//! let locks = pglock_testkit::memory();
//!
//! let lock = locks.rwlock("reports/daily");
//! let guard = lock.write().await?;
//! assert!(lock.try_read().await?.is_none());
//! guard.release().await?;
//! # Ok(())
//! # }
//! ```
//!
//! To test several processes that share their locks, make several managers on one [`MemoryServer`].
//! It can also fail as a test needs:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> pglock_core::Result<()> {
//! use pglock_testkit::memory::MemoryServer;
//!
//! let server = MemoryServer::new();
//! let (ours, other) = (server.locks(), server.locks());
//!
//! let guard = ours.rwlock("reports/daily").write().await?;
//! assert!(other.rwlock("reports/daily").try_write().await?.is_none());
//!
//! server.terminate_all();
//! guard.lost().await;
//! assert!(!guard.is_held());
//! # Ok(())
//! # }
//! ```
//!
//! The engine is the real one, with its queues and its bounds. Behind it is a
//! [lock table](MemoryServer) with PostgreSQL's rules instead of a server, so it needs no sockets.
//! For a test that pauses tokio's clock, put the engine on the runtime of the test:
//!
//! ```
//! # use std::time::Duration;
//! # use pglock_core::{ErrorKind, Locks};
//! # use pglock_testkit::memory::MemoryServer;
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> pglock_core::Result<()> {
//! let here = tokio::runtime::Handle::current();
//! let locks = Locks::builder(MemoryServer::new().driver()).runtime(here).build()?;
//!
//! let guard = locks.rwlock("reports/daily").write().await?;
//! let hour = Duration::from_secs(3600); // passes at once
//! let error = locks.rwlock("reports/daily").try_write_for(hour).await.unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::Timeout);
//! # guard.release().await
//! # }
//! ```

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pglock_core::Locks;

mod driver;
mod state;
mod witness;

pub use self::driver::{MemoryDriver, MemorySession};
pub use self::witness::MemoryWitness;

use self::state::State;

/// A lock manager in memory, on a server of its own.
///
/// See the [module](mod@self).
#[must_use]
pub fn memory() -> Locks {
    MemoryServer::new().locks()
}

/// A server that keeps locks in memory, by PostgreSQL's rules for advisory locks.
///
/// Each lock has a queue, first come, first served: no session overtakes a waiting writer. A session
/// may take a lock that it holds again, and then must release it as often. When a session ends, its
/// locks are free. The server ends a wait that closes a circle of sessions that wait for each other.
///
/// Clones are handles to the same server.
#[derive(Clone, Default)]
pub struct MemoryServer {
    state: Arc<Mutex<State>>,
}

impl MemoryServer {
    /// A server without sessions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A lock manager on this server. It acts as another process.
    #[must_use]
    pub fn locks(&self) -> Locks {
        Locks::new(self.driver())
    }

    /// A driver for [`Locks::builder`], for managers with options.
    #[must_use]
    pub fn driver(&self) -> MemoryDriver {
        self.clone().into()
    }

    /// The pids of the sessions with this application name.
    #[must_use]
    pub fn sessions(&self, application_name: &str) -> Vec<i32> {
        let state = self.state();
        let named = state.sessions.iter().filter(|(_, s)| s.application_name == application_name);
        named.map(|(pid, _)| *pid).collect()
    }

    /// Ends a session, which frees its locks. Returns whether the session existed.
    pub fn terminate(&self, pid: i32) -> bool {
        self.state().end(pid)
    }

    /// Ends all sessions, as if the server had crashed and restarted.
    pub fn terminate_all(&self) {
        self.state().end_all();
    }

    /// Cancels the wait of a session, if it waits. Returns whether the session exists.
    pub fn cancel(&self, pid: i32) -> bool {
        self.state().cancel(pid)
    }

    /// Delays each answer by this much from now on.
    pub fn delay_answers(&self, delay: Duration) {
        self.state().delay = delay;
    }

    /// Refuses or accepts new connections from now on. Existing sessions continue.
    pub fn refuse_connections(&self, refuse: bool) {
        self.state().refuses_connections = refuse;
    }

    /// Refuses or accepts statements that take or release locks from now on. Sessions continue, and
    /// keep the locks that they hold.
    pub fn refuse_statements(&self, refuse: bool) {
        self.state().refuses_statements = refuse;
    }

    /// Refuses or accepts attempts to cancel other sessions' waits from now on, as after `SET
    /// ROLE`. Managers check this right when they connect.
    pub fn refuse_cancels(&self, refuse: bool) {
        self.state().refuses_cancels = refuse;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryServer")
            .field("sessions", &self.state().sessions.len())
            .finish_non_exhaustive()
    }
}
