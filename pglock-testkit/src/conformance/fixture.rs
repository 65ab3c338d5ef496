//! What a backend provides to be tested.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pglock_core::driver::Driver;
use pglock_core::{
    DedicatedSession, DistributedRwLock, LockEntry, LockProvider, LockSet, Locks, NamedKey, Result,
    RwLock, Stats, WaitStrategy, WriteGuard,
};
use tokio::runtime::Handle;

use super::driver::AnyDriver;
use crate::faulty::{Faults, Faulty};
use crate::witness::Witness;

/// A lock space under test, and how to make lock managers on it.
#[async_trait]
pub trait Fixture: Send + Sync + 'static {
    /// Checks that lock spaces can be made. If not, one case fails and the others do not run.
    ///
    /// # Errors
    ///
    /// The error says what is missing: for PostgreSQL, a server.
    async fn available() -> std::result::Result<(), Box<dyn StdError + Send + Sync>>
    where
        Self: Sized,
    {
        Ok(())
    }

    /// Makes a lock space that no other case uses: for PostgreSQL, a new database.
    async fn start() -> Self
    where
        Self: Sized;

    /// Makes a lock manager with its own connections. It acts as another process.
    fn manager(&self, options: &Options) -> Arc<dyn Manager>;

    /// Shows who holds and who waits, independently of the backend.
    fn witness(&self) -> &dyn Witness;

    /// Whether the server ends silent sessions, and so frees the locks of a client that it cannot
    /// reach.
    async fn has_lease(&self) -> bool {
        true
    }

    /// The address by which another process finds this lock space: for PostgreSQL, the URL of the
    /// database. Part of [`Power::Process`].
    fn address(&self) -> String {
        lacks(Power::Process)
    }

    /// Joins the lock space of a fixture in another process, which remains its owner. Part of
    /// [`Power::Process`].
    async fn join(address: &str) -> Self
    where
        Self: Sized,
    {
        let _ = address;
        lacks(Power::Process)
    }

    /// Makes a lock manager for the server and the database of a URL. Part of [`Power::Postgres`].
    ///
    /// # Errors
    ///
    /// If the URL is invalid.
    fn manager_at(&self, url: &str, options: &Options) -> Result<Arc<dyn Manager>> {
        let _ = (url, options);
        lacks(Power::Postgres)
    }

    /// Makes a driver for the server and the database of a URL. Part of [`Power::Postgres`].
    ///
    /// # Errors
    ///
    /// If the URL is invalid.
    fn driver_at(&self, url: &str) -> Result<Box<dyn AnyDriver>> {
        let _ = url;
        lacks(Power::Postgres)
    }
}

/// What some cases need beyond a lock space. A fixture names the powers that it lacks in
/// [`conformance!`](crate::conformance!).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Power {
    /// Locks belong to sessions. The witness finds sessions by name, ends them and cancels their
    /// waits.
    Sessions,
    /// Managers are made by [`Options::build`], so that a case can inject faults between the engine
    /// and the driver, and use what only the engine has: [`Manager::session`] and
    /// [`Manager::engine_lock`].
    Engine,
    /// Write guards have fencing tokens.
    Tokens,
    /// Other processes share the lock space: [`Fixture::address`] and [`Fixture::join`].
    Process,
    /// The backend is PostgreSQL, and accepts any URL: [`Fixture::manager_at`] and
    /// [`Fixture::driver_at`]. Cases start, stop and configure servers.
    Postgres,
}

fn lacks(power: Power) -> ! {
    panic!("the fixture lacks a power of which it does not say so: `lacks: [{power:?}]`")
}

/// What the cases need from a lock manager besides its locks. [`Locks`] implements it.
#[async_trait]
pub trait Manager: LockProvider {
    /// Who holds any key, and who waits.
    async fn inspect_all(&self) -> Result<Vec<LockEntry>>;

    /// Whether locks are available now.
    async fn check(&self) -> Result<()>;

    /// Releases all locks and ends all waits.
    async fn close(&self) -> Result<()>;

    /// What the manager is doing.
    fn stats(&self) -> Stats;

    /// A server session of its own. Part of [`Power::Engine`].
    async fn session(&self) -> Result<DedicatedSession> {
        lacks(Power::Engine)
    }

    /// The lock on this key, with what only the engine's lock offers. Part of [`Power::Engine`].
    fn engine_lock(&self, key: NamedKey) -> RwLock {
        let _ = key;
        lacks(Power::Engine)
    }
}

impl dyn Manager {
    /// An empty set of its locks.
    pub fn set(self: &Arc<Self>) -> LockSet {
        LockSet::new(self.clone())
    }
}

impl dyn Manager + '_ {
    /// Waits for the write lock of one of these keys.
    ///
    /// # Errors
    ///
    /// As for a single lock.
    pub async fn write_any(&self, keys: &[NamedKey]) -> Result<WriteGuard> {
        let locks: &dyn LockProvider = self;
        locks.write_any(keys).await
    }

    /// The lock on this key, for tasks to share.
    pub fn lock(&self, key: impl Into<NamedKey>) -> Arc<dyn DistributedRwLock> {
        self.rwlock(key.into()).into()
    }
}

/// Options of a lock manager that cases can set.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// `application_name` of its sessions; if empty, that of their connections.
    pub application_name: String,
    /// Limit on sessions that wait in the server's queue.
    pub max_waiting_sessions: usize,
    /// How long an idle waiting session stays open.
    pub idle_timeout: Duration,
    /// Whether it closes its last session when it is idle.
    pub disconnect_when_idle: bool,
    /// How it waits for locks of other processes.
    pub wait_strategy: WaitStrategy,
    /// How often it renews its waits, if not by default: `Some(None)` is never.
    pub wait_renewal: Option<Option<Duration>>,
    /// Limit on its locks at the server, if not the default.
    pub max_locks: Option<usize>,
    /// How often the lock may pass from caller to caller within a process, if not the default.
    pub hand_over_count: Option<u32>,
    /// How long it may do so, if not the default.
    pub hand_over_age: Option<Duration>,
    /// Whether readers may share the write lock of a writer of their process.
    pub share_write_locks: bool,
    /// Limit on waiting callers, if not the default.
    pub max_waiters: Option<usize>,
    /// Lease of the server, if not the default.
    pub server_lease: Option<Duration>,
    /// Lease of the guards, if not the default; the heartbeat is then a quarter of it.
    pub guard_lease: Option<Duration>,
    /// The runtime of its engine, if not a thread of its own.
    pub runtime: Option<Handle>,
    /// Faults between the engine and the driver.
    pub faults: Option<Faults>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            application_name: "pglock".to_owned(),
            max_waiting_sessions: 4,
            idle_timeout: Duration::from_secs(30),
            disconnect_when_idle: false,
            wait_strategy: WaitStrategy::default(),
            wait_renewal: None,
            max_locks: None,
            hand_over_count: None,
            hand_over_age: None,
            share_write_locks: false,
            max_waiters: None,
            server_lease: None,
            guard_lease: None,
            runtime: None,
            faults: None,
        }
    }
}

impl Options {
    /// Makes a manager of the engine with these options.
    pub fn build<D: Driver>(&self, driver: D) -> Arc<dyn Manager> {
        match &self.faults {
            Some(faults) => self.build_on(Faulty::new(driver, faults)),
            None => self.build_on(driver),
        }
    }

    fn build_on<D: Driver>(&self, driver: D) -> Arc<dyn Manager> {
        let mut builder = Locks::builder(driver)
            .application_name(&*self.application_name)
            .max_waiting_sessions(self.max_waiting_sessions)
            .idle_timeout(self.idle_timeout)
            .wait_strategy(self.wait_strategy)
            .share_write_locks(self.share_write_locks);
        builder = match self.wait_renewal {
            None => builder,
            Some(None) => builder.never_renew_waits(),
            Some(Some(time)) => builder.renew_waits_after(time),
        };
        if self.disconnect_when_idle {
            builder = builder.disconnect_when_idle();
        }
        if let Some(locks) = self.max_locks {
            builder = builder.max_locks(locks);
        }
        if let Some(count) = self.hand_over_count {
            builder = builder.hand_over_count(count);
        }
        if let Some(age) = self.hand_over_age {
            builder = builder.hand_over_age(age);
        }
        if let Some(waiters) = self.max_waiters {
            builder = builder.max_waiters(waiters);
        }
        if let Some(lease) = self.server_lease {
            builder = builder.server_lease(lease);
        }
        if let Some(lease) = self.guard_lease {
            builder = builder.guard_lease(lease).heartbeat(lease / 4);
        }
        if let Some(runtime) = &self.runtime {
            builder = builder.runtime(runtime.clone());
        }
        Arc::new(builder.build().unwrap())
    }
}

#[async_trait]
impl Manager for Locks {
    async fn inspect_all(&self) -> Result<Vec<LockEntry>> {
        Self::inspect_all(self).await
    }

    async fn check(&self) -> Result<()> {
        Self::check(self).await
    }

    async fn close(&self) -> Result<()> {
        Self::close(self).await
    }

    fn stats(&self) -> Stats {
        Self::stats(self)
    }

    async fn session(&self) -> Result<DedicatedSession> {
        Self::session(self).await
    }

    fn engine_lock(&self, key: NamedKey) -> RwLock {
        self.rwlock(key)
    }
}
