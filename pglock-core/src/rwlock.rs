//! The lock on one key.

mod acquire;
mod distributed;
mod options;
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

    /// Takes the read lock, or returns `None` if a writer holds it or waits for it.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future leaves nothing behind.
    ///
    /// # Errors
    ///
    /// A busy lock is no error; see [`ErrorKind`](crate::ErrorKind).
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
    /// A busy lock is no error; see [`ErrorKind`](crate::ErrorKind).
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
