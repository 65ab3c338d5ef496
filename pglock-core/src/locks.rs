//! The lock manager, the same type for every backend.

mod builder;
mod dedicated;
mod provider;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::builder::LocksBuilder;

use crate::driver::Driver;
use crate::engine::{Client, Stats};
use crate::error::Result;
use crate::key::NamedKey;
use crate::looking::LockEntry;
use crate::rwlock::RwLock;

/// A lock manager: gives out locks on one database and owns the few sessions that hold them.
///
/// Make one per process and database and share it; cloning is cheap and gives the same manager. It
/// opens its own connections when it first needs them, and takes none from a pool of the
/// application. Take a lock before you take a connection from your pool: tasks that hold
/// connections while they wait for a lock can keep its holder from getting one.
///
/// Once connected, an idle manager keeps one session and sends a
/// [heartbeat](LocksBuilder::heartbeat) on it every 2.5 seconds, even if it holds no lock.
///
/// Its engine runs on a thread of its own, so that locks can be awaited on any executor; see
/// [`LocksBuilder::runtime`]. It closes its connections when the last clone, lock and guard are
/// dropped.
///
/// # One type for every backend
///
/// A [`Driver`] says how to connect; the manager made from it has the same type whatever the driver
/// is. An application that stores `Locks` is tested without PostgreSQL by storing
/// `pglock_testkit::memory()` instead. Each adapter makes its drivers in the same ways:
///
/// ```ignore
/// Locks::new(SqlxDriver::from_pool(&pool));
/// Locks::new(SqlxDriver::from_options(options));
/// Locks::new(SqlxDriver::from_url("postgres://localhost/app")?);
///
/// Locks::new(DieselDriver::from_pool(&pool));
/// Locks::new(DieselDriver::from_options(options));
/// Locks::new(DieselDriver::from_url("postgres://localhost/app")?);
/// Locks::new(DieselDriver::from_fn(connect));
/// ```
///
/// # Examples
///
/// ```
/// use pglock_core::{Locks, Result};
///
/// struct App {
///     locks: Locks,
/// }
///
/// impl App {
///     /// Builds the daily report, unless another process is building it.
///     async fn build_report(&self) -> Result<bool> {
///         let Some(guard) = self.locks.rwlock("reports/daily").try_write().await? else {
///             return Ok(false);
///         };
///         guard.protect(async { /* … */ }).await?;
///         guard.release().await?;
///         Ok(true)
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Locks {
    client: Arc<Client>,
}

impl Locks {
    /// Makes a manager with the default options. It connects when the first lock is requested.
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::Locks;
    /// use pglock_core::driver::Driver;
    ///
    /// fn connect_to(primary: impl Driver, archive: impl Driver) -> [Locks; 2] {
    ///     [Locks::new(primary), Locks::new(archive)]
    /// }
    /// ```
    pub fn new(driver: impl Driver) -> Self {
        Self::builder(driver).assemble()
    }

    /// Starts a manager with other options than the default.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pglock_core::driver::Driver;
    /// use pglock_core::Locks;
    ///
    /// # fn example(driver: impl Driver) -> pglock_core::Result<()> {
    /// let locks = Locks::builder(driver)
    ///     .application_name("billing")
    ///     .max_waiting_sessions(8)
    ///     .build()?;
    /// # drop(locks);
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(driver: impl Driver) -> LocksBuilder {
        LocksBuilder::new(Arc::new(driver))
    }

    /// The lock on this key. Does no I/O. Two locks on one key exclude each other, just like locks
    /// of two processes.
    ///
    /// If two names have the same key, they do not silently become one lock. While a lock or guard
    /// uses one name, every acquire of the other fails with
    /// [`KeyCollision`](crate::ErrorKind::KeyCollision).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn examples(locks: pglock_core::Locks, customer: u32, hash: u64) {
    /// use pglock_core::{LockKey, NamedKey};
    ///
    /// locks.rwlock("reports/daily");
    /// locks.rwlock(format!("invoice/{customer}"));
    /// locks.rwlock(NamedKey::in_namespace("billing", "invoice/42"));
    /// locks.rwlock(42);
    /// locks.rwlock(customer);
    /// locks.rwlock((5, 7));
    /// locks.rwlock(LockKey::from_u64(hash));
    /// # }
    /// ```
    pub fn rwlock(&self, key: impl Into<NamedKey>) -> RwLock {
        RwLock::new(self.client.clone(), key.into())
    }

    /// Releases every lock, ends every wait and closes the connections.
    ///
    /// Waiting calls and all later calls fail with [`Closed`](crate::ErrorKind::Closed). Guards
    /// that still exist have lost their locks. `close` returns when the server has confirmed that
    /// the locks are free and the connections are closed. After 5 seconds without an answer, it
    /// drops the connections and returns.
    ///
    /// # Cancel safety
    ///
    /// If this future is dropped, the manager still closes; only the confirmation is lost.
    ///
    /// # Errors
    ///
    /// Returns no errors at present.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(locks: pglock_core::Locks) -> pglock_core::Result<()> {
    /// // … when the process shuts down, and the work under locks has ended …
    /// locks.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn close(&self) -> Result<()> {
        self.client.close().await;
        Ok(())
    }

    /// Asks the server who holds this key and who waits for it.
    ///
    /// The entries include locks on this key that other programs take without this library. Entries
    /// with [`granted`](LockEntry::granted) hold the lock, the others wait.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future leaves nothing behind.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`](crate::ErrorKind).
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::{Locks, Result};
    ///
    /// /// Prints who holds a lock, and how many sessions wait for it.
    /// async fn report(locks: &Locks) -> Result<()> {
    ///     let (holders, waiters): (Vec<_>, Vec<_>) =
    ///         locks.inspect("reports/daily").await?.into_iter().partition(|entry| entry.granted);
    ///     for holder in holders {
    ///         println!("held by {} (pid {})", holder.application_name, holder.pid);
    ///     }
    ///     println!("{} sessions wait", waiters.len());
    ///     Ok(())
    /// }
    /// ```
    pub async fn inspect(&self, key: impl Into<NamedKey>) -> Result<Vec<LockEntry>> {
        let (key, _) = key.into().into_parts();
        self.client.look(Some(key)).await
    }

    /// Asks the server who holds, and who waits for, any advisory lock in the same database.
    ///
    /// As [`inspect`](Self::inspect), for all keys.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future leaves nothing behind.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`](crate::ErrorKind).
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::{Locks, Result};
    ///
    /// /// How many locks the sessions of this manager hold.
    /// async fn ours(locks: &Locks) -> Result<usize> {
    ///     let entries = locks.inspect_all().await?;
    ///     Ok(entries.iter().filter(|entry| entry.is_ours && entry.granted).count())
    /// }
    /// ```
    pub async fn inspect_all(&self) -> Result<Vec<LockEntry>> {
        self.client.look(None).await
    }

    /// Checks that the server grants locks now: one round trip, for readiness probes.
    ///
    /// Opens a session if there is none. `Ok` means that a session that takes locks has answered a
    /// question sent after this call. An error is the one that an acquire would have returned. The
    /// check takes no lock, so it says nothing about a particular key and does not notice a full
    /// lock table. It fails after 10 seconds without an answer.
    ///
    /// [`stats`](Self::stats) sends nothing: its `connected` and `last_heartbeat` show what the
    /// manager last knew.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future leaves nothing behind, so you can wrap it in `tokio::time::timeout` for
    /// a shorter bound.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`](crate::ErrorKind).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use pglock_core::Locks;
    /// use tokio::time::timeout;
    ///
    /// /// The status of a reply to `GET /ready`.
    /// async fn ready(locks: &Locks) -> u16 {
    ///     match timeout(Duration::from_secs(1), locks.check()).await {
    ///         Ok(Ok(())) => 200,
    ///         Ok(Err(error)) => {
    ///             eprintln!("not ready: {error}");
    ///             503
    ///         }
    ///         Err(_) => 503,
    ///     }
    /// }
    /// ```
    pub async fn check(&self) -> Result<()> {
        self.client.check().await
    }

    /// Completes after this time, by the engine's clock.
    pub(crate) async fn pause(&self, time: Duration) {
        self.client.sleep(time).await;
    }

    /// What the manager is doing now.
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::Locks;
    ///
    /// fn line(locks: &Locks) -> String {
    ///     let stats = locks.stats();
    ///     format!("{} locks held, {} callers wait, {} lost", stats.held, stats.waiting, stats.losses)
    /// }
    /// ```
    pub fn stats(&self) -> Stats {
        self.client.stats()
    }
}

impl fmt::Debug for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locks").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
