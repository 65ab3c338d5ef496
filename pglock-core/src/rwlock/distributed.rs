//! The lock trait, which is the same for every backend, and the engine's lock as one of them.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use super::RwLock;
use crate::error::Result;
use crate::guard::{ReadGuard, WriteGuard};
use crate::key::LockKey;

/// A read-write lock on one key, across tasks, processes and machines.
///
/// The trait is object-safe: code that takes a `&dyn DistributedRwLock` works with every backend.
///
/// # Contract
///
/// Callers may rely on these rules, and implementations must keep them; `pglock-testkit` checks
/// them.
///
/// - At any time, a key has any number of [`ReadGuard`]s or one [`WriteGuard`], among all processes
///   that use the same backend.
/// - `read` and `write` wait in a queue: a later call for a conflicting lock through the same lock
///   manager does not get the lock first.
/// - A call that fails, times out or is dropped leaves nothing behind: no lock, and no place in the
///   queue.
/// - A busy lock is not an error: `try_read` and `try_write` return `Ok(None)`.
/// - Locks are not re-entrant: see below.
/// - Any number of calls may run at the same time on the same value.
///
/// # A task can wait for itself
///
/// A lock does not know which task calls it. A task that holds a guard and asks for the same key
/// again waits for ever
///
/// - in `write`, whichever guard it holds: asking for the write lock does not upgrade a read lock
///   (see [`RwLock::upgradable_read`] for that);
/// - in `read`, if it holds the write lock;
/// - in `read`, if it holds a read lock and a writer of any process has queued in between: the
///   second read waits behind the writer, which waits for the first.
///
/// Share one guard, in an `Arc`, or release it first. The `try_` methods never wait for ever.
///
/// # Poll an acquire, or drop it
///
/// When its turn comes, a waiting future has the lock, even if nothing polls it. All other callers
/// wait until it is polled and its guard is released, or until it is dropped. So do not set such a
/// future aside, for example pinned beside a `select!` loop whose other branches take long.
#[async_trait]
pub trait DistributedRwLock: fmt::Debug + Send + Sync {
    /// The key of this lock.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(lock: &dyn pglock_core::DistributedRwLock) {
    /// println!("waiting for the lock {}", lock.key());
    /// # }
    /// ```
    fn key(&self) -> LockKey;

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
    /// # async fn example(lock: &dyn pglock_core::DistributedRwLock) -> pglock_core::Result<()> {
    /// if let Some(guard) = lock.try_read().await? {
    ///     // … look at what no writer changes now …
    ///     guard.release().await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    async fn try_read(&self) -> Result<Option<ReadGuard>>;

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
    /// # async fn example(lock: &dyn pglock_core::DistributedRwLock) -> pglock_core::Result<()> {
    /// let guard = lock.read().await?;
    /// // … look at what no writer changes now …
    /// drop(guard); // releases, without waiting
    /// # Ok(())
    /// # }
    /// ```
    async fn read(&self) -> Result<ReadGuard>;

    /// Waits for the read lock, up to `timeout`. Zero does not wait: it tries once.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the place in the queue, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// [`Timeout`](crate::ErrorKind::Timeout) if the lock was not free in time. If the manager had
    /// no connection, or the server did not answer, the error reports that instead. Otherwise as
    /// for [`read`](Self::read).
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(lock: &dyn pglock_core::DistributedRwLock) -> pglock_core::Result<()> {
    /// use std::time::Duration;
    ///
    /// let guard = lock.try_read_for(Duration::from_secs(2)).await?;
    /// // … look at what no writer changes now …
    /// drop(guard);
    /// # Ok(())
    /// # }
    /// ```
    async fn try_read_for(&self, timeout: Duration) -> Result<ReadGuard>;

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
    /// # async fn example(lock: &dyn pglock_core::DistributedRwLock) -> pglock_core::Result<()> {
    /// let Some(guard) = lock.try_write().await? else {
    ///     return Ok(()); // another caller is at work
    /// };
    /// guard.protect(async { /* the work */ }).await?;
    /// guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    async fn try_write(&self) -> Result<Option<WriteGuard>>;

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
    /// # async fn example(lock: &dyn pglock_core::DistributedRwLock) -> pglock_core::Result<()> {
    /// let guard = lock.write().await?;
    /// guard.protect(async { /* the work */ }).await?;
    /// guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    async fn write(&self) -> Result<WriteGuard>;

    /// Waits for the write lock, up to `timeout`. Zero does not wait: it tries once.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the place in the queue, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// [`Timeout`](crate::ErrorKind::Timeout) if the lock was not free in time. If the manager had
    /// no connection, or the server did not answer, the error reports that instead. Otherwise as
    /// for [`write`](Self::write).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use pglock_core::{DistributedRwLock, ErrorKind, Result};
    ///
    /// /// False if the lock was not free within a minute.
    /// async fn work(lock: &dyn DistributedRwLock) -> Result<bool> {
    ///     let guard = match lock.try_write_for(Duration::from_secs(60)).await {
    ///         Ok(guard) => guard,
    ///         Err(error) if error.kind() == ErrorKind::Timeout => return Ok(false),
    ///         Err(error) => return Err(error),
    ///     };
    ///     guard.protect(async { /* the work */ }).await?;
    ///     guard.release().await?;
    ///     Ok(true)
    /// }
    /// ```
    async fn try_write_for(&self, timeout: Duration) -> Result<WriteGuard>;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl DistributedRwLock for RwLock {
    fn key(&self) -> LockKey {
        self.key()
    }

    async fn try_read(&self) -> Result<Option<ReadGuard>> {
        self.try_read().await
    }

    async fn read(&self) -> Result<ReadGuard> {
        self.read().await
    }

    async fn try_read_for(&self, timeout: Duration) -> Result<ReadGuard> {
        self.try_read_for(timeout).await
    }

    async fn try_write(&self) -> Result<Option<WriteGuard>> {
        self.try_write().await
    }

    async fn write(&self) -> Result<WriteGuard> {
        self.write().await
    }

    async fn try_write_for(&self, timeout: Duration) -> Result<WriteGuard> {
        self.try_write_for(timeout).await
    }
}
