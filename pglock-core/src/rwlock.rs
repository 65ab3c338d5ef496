//! The lock on one key.

mod acquire;
mod distributed;
mod together;
mod upgradable;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::acquire::{acquire_span, log_acquired};
pub use self::distributed::DistributedRwLock;
pub(crate) use self::together::{take_prefix, try_any};

use crate::engine::{Client, Patience};
use crate::error::Result;
use crate::fence::gate_of;
use crate::guard::{ReadGuard, WriteGuard};
use crate::key::well_known::warn_of_tool;
use crate::key::{KeyName, LockKey, NamedKey};
use crate::mode::Mode;
use crate::names::Name;

/// A lock on one key, from [`Locks::rwlock`](crate::Locks::rwlock). Cheap to make and to clone.
///
/// It has the methods of [`DistributedRwLock`] as its own, so you need not import the trait.
///
/// # Examples
///
/// ```
/// use pglock_core::{Locks, Result};
///
/// /// True if this call has built the report, false if another process is building it.
/// async fn build_report(locks: &Locks) -> Result<bool> {
///     let Some(guard) = locks.rwlock("reports/daily").try_write().await? else {
///         return Ok(false);
///     };
///     guard.protect(async { /* the work */ }).await?;
///     guard.release().await?;
///     Ok(true)
/// }
/// ```
#[derive(Clone)]
pub struct RwLock {
    client: Arc<Client>,
    key: LockKey,
    /// `Err` if the key had another name when this was made.
    name: Option<Result<Arc<Name>, KeyName>>,
    /// What a fenced lock passes before it is handed out.
    gate: Option<LockKey>,
    /// Whether a wait fails that is part of a deadlock.
    gives_up: bool,
}

impl RwLock {
    pub(crate) fn new(client: Arc<Client>, key: NamedKey) -> Self {
        warn_of_tool(&key);
        Self::of_tool(client, key)
    }

    /// As `new`, for a key that may be that of a tool.
    pub(crate) fn of_tool(client: Arc<Client>, key: NamedKey) -> Self {
        let (key, name) = key.into_parts();
        let name = name.map(|name| client.enter(key, &name).map_err(|_| name));
        Self { client, key, name, gate: None, gives_up: false }
    }

    /// The key of this lock.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(locks: pglock_core::Locks) {
    /// let lock = locks.rwlock("invoice/42");
    /// println!("psql shows the lock as {}", lock.key());
    /// # }
    /// ```
    pub fn key(&self) -> LockKey {
        self.key
    }

    /// The same lock, which is handed out only once the fenced transactions of earlier holders have
    /// ended. Make it fenced wherever it is used.
    ///
    /// A [fence](WriteGuard::fence) keeps fenced transactions in order. What a holder does outside of
    /// one, or in a snapshot that is older than its fence, may miss what an earlier holder commits
    /// last: one that has lost the lock, or released it before the commit. With a fenced lock, a
    /// holder sees everything that its predecessors have committed, as soon as it has the guard.
    ///
    /// This costs a round trip each time that a caller gets the lock, also from another caller of
    /// this process, and room for one more lock while it lasts. Until such a transaction has ended,
    /// `try_read` and `try_write` return `None`, and other calls wait.
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::{Locks, Result};
    ///
    /// async fn close_accounts(locks: &Locks) -> Result<()> {
    ///     let guard = locks.rwlock("accounts").fenced().write().await?;
    ///     // … begin a REPEATABLE READ transaction, and first:
    ///     // guard.fence(tx.locks().at_any_isolation()).await?;
    ///     guard.release().await
    /// }
    /// ```
    #[must_use]
    pub fn fenced(self) -> Self {
        Self { gate: Some(gate_of(self.key)), ..self }
    }

    /// The same lock, but a wait for it fails with [`Deadlock`](crate::ErrorKind::Deadlock) if it is
    /// part of a deadlock, rather than go on.
    ///
    /// A deadlock is found within ten seconds, and need not be certain: see
    /// [`Deadlock`](crate::Deadlock). If several waits in it would fail, only that for the lowest key
    /// does. The caller keeps what it holds: it must release that for the others to go on.
    ///
    /// This is for callers that can begin again. All others wait on, as those do whose deadline is
    /// the remedy. If the keys are known beforehand, take them as a [set](crate::Locks::set), which
    /// cannot be part of a deadlock with other sets.
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::{ErrorKind, Locks, Result, WriteGuard};
    ///
    /// async fn lock_both(locks: &Locks, order: &str, stock: &str) -> Result<[WriteGuard; 2]> {
    ///     loop {
    ///         let order = locks.rwlock(order).write().await?;
    ///         match locks.rwlock(stock).fail_on_deadlock().write().await {
    ///             Ok(stock) => return Ok([order, stock]),
    ///             // Lets the others go on, and begins again.
    ///             Err(error) if error.kind() == ErrorKind::Deadlock => order.release().await?,
    ///             Err(error) => return Err(error),
    ///         }
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn fail_on_deadlock(self) -> Self {
        Self { gives_up: true, ..self }
    }

    /// Takes the read lock, or returns `None` if a writer holds it or waits for it.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future leaves nothing behind.
    ///
    /// # Errors
    ///
    /// Anything but a busy lock; see [`ErrorKind`](crate::ErrorKind).
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(lock: pglock_core::RwLock) -> pglock_core::Result<()> {
    /// if let Some(guard) = lock.try_read().await? {
    ///     // … read what no writer changes now …
    ///     guard.release().await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn try_read(&self) -> Result<Option<ReadGuard>> {
        let held = self.acquire(Mode::Read, Patience::Try).await?;
        Ok(held.map(ReadGuard::from_engine))
    }

    /// Waits for the read lock.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the place in the queue, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`](crate::ErrorKind).
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(lock: pglock_core::RwLock) -> pglock_core::Result<()> {
    /// let guard = lock.read().await?;
    /// // … read what no writer changes now …
    /// drop(guard); // releases, without waiting
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read(&self) -> Result<ReadGuard> {
        self.wait(Mode::Read).await.map(ReadGuard::from_engine)
    }

    /// Waits for the read lock, up to `timeout`. Zero does not wait: it tries once.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the place in the queue, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// [`Timeout`](crate::ErrorKind::Timeout) if the lock was not free in time: see
    /// [`DistributedRwLock::try_read_for`].
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(lock: pglock_core::RwLock) -> pglock_core::Result<()> {
    /// use std::time::Duration;
    ///
    /// let guard = lock.try_read_for(Duration::from_secs(2)).await?;
    /// // … read what no writer changes now …
    /// drop(guard);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn try_read_for(&self, timeout: Duration) -> Result<ReadGuard> {
        self.wait_for(Mode::Read, timeout).await.map(ReadGuard::from_engine)
    }

    /// Takes the write lock, or returns `None` if the lock is held or awaited.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future leaves nothing behind.
    ///
    /// # Errors
    ///
    /// Anything but a busy lock; see [`ErrorKind`](crate::ErrorKind).
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(lock: pglock_core::RwLock) -> pglock_core::Result<()> {
    /// let Some(guard) = lock.try_write().await? else {
    ///     return Ok(()); // another caller is at work
    /// };
    /// guard.protect(async { /* the work */ }).await?;
    /// guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn try_write(&self) -> Result<Option<WriteGuard>> {
        let held = self.acquire(Mode::Write, Patience::Try).await?;
        Ok(held.map(WriteGuard::from_engine))
    }

    /// Waits for the write lock.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the place in the queue, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`](crate::ErrorKind).
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(lock: pglock_core::RwLock) -> pglock_core::Result<()> {
    /// let guard = lock.write().await?;
    /// guard.protect(async { /* the work */ }).await?;
    /// guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write(&self) -> Result<WriteGuard> {
        self.wait(Mode::Write).await.map(WriteGuard::from_engine)
    }

    /// Waits for the write lock, up to `timeout`. Zero does not wait: it tries once.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the place in the queue, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// [`Timeout`](crate::ErrorKind::Timeout) if the lock was not free in time: see
    /// [`DistributedRwLock::try_write_for`].
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(lock: pglock_core::RwLock) -> pglock_core::Result<()> {
    /// use std::time::Duration;
    ///
    /// let guard = lock.try_write_for(Duration::from_secs(60)).await?;
    /// guard.protect(async { /* the work */ }).await?;
    /// guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn try_write_for(&self, timeout: Duration) -> Result<WriteGuard> {
        self.wait_for(Mode::Write, timeout).await.map(WriteGuard::from_engine)
    }
}

impl fmt::Debug for RwLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLock").field("key", &self.key).finish_non_exhaustive()
    }
}
