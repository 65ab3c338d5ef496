//! The source of locks for code that works with any backend.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::Result;
use crate::key::NamedKey;
use crate::locks::Locks;
use crate::looking::LockEntry;
use crate::rwlock::DistributedRwLock;

/// Gives out locks by name, shows who holds them, and provides a timer.
///
/// [`Locks`] implements it, for every backend that has the engine. Take a `&dyn LockProvider` or an
/// `Arc<dyn LockProvider>` in code that needs several locks and should also run on a backend that
/// is not [`Locks`], or on a fake.
///
/// # Contract
///
/// - Two locks with equal keys exclude each other, even from the same provider.
/// - [`rwlock`](Self::rwlock) does no I/O and takes no lock.
/// - [`inspect`](Self::inspect) lists the holders of all processes that existed when it was called
///   and still exist when it returns. It may leave out waiters.
/// - Backends without the engine make entries with [`lock_entry`](crate::driver::lock_entry).
///
/// # Examples
///
/// ```
/// use pglock_core::{DistributedRwLock, LockProvider, NamedKey, Result};
///
/// /// Sends an invoice, unless another process is sending it.
/// async fn send(locks: &dyn LockProvider, invoice: u32) -> Result<bool> {
///     let lock = locks.rwlock(NamedKey::in_namespace("billing", &format!("invoice/{invoice}")));
///     let Some(guard) = lock.try_write().await? else {
///         return Ok(false);
///     };
///     guard.protect(async { /* … */ }).await?;
///     guard.release().await?;
///     Ok(true)
/// }
///
/// /// How many sessions hold a lock, or wait for it.
/// async fn interest(locks: &dyn LockProvider, key: &str) -> Result<usize> {
///     Ok(locks.inspect(key.into()).await?.len())
/// }
/// ```
#[async_trait]
pub trait LockProvider: fmt::Debug + Send + Sync {
    /// The lock on this key.
    fn rwlock(&self, key: NamedKey) -> Box<dyn DistributedRwLock>;

    /// Who holds this key and who waits for it, according to the backend.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future leaves nothing behind.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`](crate::ErrorKind).
    async fn inspect(&self, key: NamedKey) -> Result<Vec<LockEntry>>;

    /// Completes after this time, by the clock that the backend's locks use for timeouts, on every
    /// executor on which its locks can be awaited.
    ///
    /// It may never complete once the backend is closed. So race it against something that notices
    /// that, such as [`Lease::lost`](crate::Lease::lost) or an acquire.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use pglock_core::{Lease, LockProvider};
    ///
    /// /// False if the lock is lost before the minute is over.
    /// async fn pause(locks: &dyn LockProvider, lease: &Lease) -> bool {
    ///     lease.protect(locks.sleep(Duration::from_secs(60))).await.is_ok()
    /// }
    /// ```
    async fn sleep(&self, time: Duration);
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl LockProvider for Locks {
    fn rwlock(&self, key: NamedKey) -> Box<dyn DistributedRwLock> {
        Box::new(self.rwlock(key))
    }

    async fn inspect(&self, key: NamedKey) -> Result<Vec<LockEntry>> {
        self.inspect(key).await
    }

    async fn sleep(&self, time: Duration) {
        self.pause(time).await;
    }
}
