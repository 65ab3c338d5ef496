//! The source of locks for code that works with any backend.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::Result;
use crate::guard::{AnyGuard, WriteGuard};
use crate::key::NamedKey;
use crate::looking::LockEntry;
use crate::mode::Mode;
use crate::rwlock::DistributedRwLock;

/// Gives out locks by name, shows who holds them, and provides a timer.
///
/// [`Locks`](crate::Locks) implements it, for every backend that has the engine. Take a
/// `&dyn LockProvider` or an `Arc<dyn LockProvider>` in code that needs several locks and should
/// also run on a backend that is not `Locks`, or on a fake. A [`LockSet`](crate::LockSet) takes
/// several of its locks at once.
///
/// # Contract
///
/// - Two locks with equal keys exclude each other, even from the same provider.
/// - [`rwlock`](Self::rwlock) does no I/O and takes no lock.
/// - [`inspect`](Self::inspect) lists the holders of all processes that existed when it was called
///   and still exist when it returns. It may leave out waiters.
/// - Backends without the engine make entries with [`lock_entry`](crate::driver::lock_entry).
/// - `take_in_order` and `try_write_any` need not be implemented. A backend that can try several
///   locks in one round trip does so there.
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

    /// Takes the first of these locks, and those behind it that are free, in their order: the step
    /// from which a [`LockSet`](crate::LockSet) is made.
    ///
    /// Waits for the first lock, up to `timeout`. Zero does not wait: if the first lock is busy
    /// then, no guard is returned. Takes no lock behind one that it has not taken. May return fewer
    /// guards than there are free locks: call it again for the rest.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the place in the queue, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// [`Timeout`](crate::ErrorKind::Timeout) if the first lock was not free in time; otherwise see
    /// [`ErrorKind`](crate::ErrorKind). No lock is held then.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(locks: &dyn pglock_core::LockProvider) -> pglock_core::Result<()> {
    /// use std::time::Duration;
    ///
    /// use pglock_core::Mode;
    ///
    /// let wanted = [("a".into(), Mode::Read), ("b".into(), Mode::Write)];
    /// let guards = locks.take_in_order(&wanted, Duration::ZERO).await?;
    /// println!("{} of {} are taken", guards.len(), wanted.len());
    /// # Ok(())
    /// # }
    /// ```
    async fn take_in_order(
        &self,
        wanted: &[(NamedKey, Mode)],
        timeout: Duration,
    ) -> Result<Vec<AnyGuard>> {
        let mut guards = Vec::new();
        for (key, mode) in wanted {
            let lock = self.rwlock(key.clone());
            let waits = guards.is_empty() && !timeout.is_zero();
            let taken = match mode {
                Mode::Read if waits => Some(lock.try_read_for(timeout).await?.into()),
                Mode::Write if waits => Some(lock.try_write_for(timeout).await?.into()),
                Mode::Read => lock.try_read().await?.map(AnyGuard::Read),
                Mode::Write => lock.try_write().await?.map(AnyGuard::Write),
            };
            let Some(guard) = taken else { break };
            guards.push(guard);
        }
        Ok(guards)
    }

    /// Takes the write lock of one key: of the first that is free, in the order given. Returns
    /// `None` if all are busy. [`WriteGuard::key`] says which one it is.
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
    /// # async fn example(locks: &dyn pglock_core::LockProvider) -> pglock_core::Result<()> {
    /// if let Some(gpu) = locks.try_write_any(&["gpu/0".into(), "gpu/1".into()]).await? {
    ///     println!("working on {}", gpu.key());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    async fn try_write_any(&self, keys: &[NamedKey]) -> Result<Option<WriteGuard>> {
        for key in keys {
            if let Some(guard) = self.rwlock(key.clone()).try_write().await? {
                return Ok(Some(guard));
            }
        }
        Ok(None)
    }
}
