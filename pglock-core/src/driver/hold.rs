//! The trait from which a backend without the engine makes its guards.

use std::fmt;

use async_trait::async_trait;

use crate::error::Result;
use crate::lease::Lease;
use crate::token::FencingToken;

/// The lock behind a guard of another backend.
///
/// Implement this to build guards outside this crate: a
/// [`DistributedRwLock`](crate::DistributedRwLock) that is not PostgreSQL gives its own type to
/// [`ReadGuard::new`](crate::ReadGuard::new) and [`WriteGuard::new`](crate::WriteGuard::new).
///
/// # Contract
///
/// - Dropping the value releases the lock. `Drop` does not block, panic or do I/O: it hands the
///   release to a task or thread.
/// - The lease ends no later than the lock: when the value is dropped or released, clones of the
///   lease report that the lock is not held.
///
/// # Examples
///
/// A lock within one process, which cannot be lost:
///
/// ```
/// use std::time::Duration;
///
/// use async_trait::async_trait;
/// use pglock_core::driver::{ErrorBuilder, Hold, LeaseState};
/// use pglock_core::{Error, ErrorKind, FencingToken, Lease, LockKey, Result, WriteGuard};
/// use tokio::sync::{OwnedRwLockWriteGuard, watch};
///
/// #[derive(Debug)]
/// struct LocalHold {
///     lease: Lease,
///     _lock: OwnedRwLockWriteGuard<()>, // its drop releases the lock
///     _end: watch::Sender<()>,          // its drop ends the lease
/// }
///
/// #[async_trait]
/// impl Hold for LocalHold {
///     fn lease(&self) -> &Lease {
///         &self.lease
///     }
///
///     async fn fencing_token(&self) -> Result<FencingToken> {
///         let why = "this backend has no fencing tokens";
///         Err(ErrorBuilder::new(ErrorKind::InvalidOptions, why).build())
///     }
///
///     fn downgrade(&mut self) {} // it stays a write lock
///
///     async fn try_upgrade(&mut self) -> Result<bool> {
///         Ok(false) // it stays a read lock
///     }
///
///     async fn release(self: Box<Self>) -> Result<()> {
///         Ok(()) // the drop of `self` releases; there is nothing to confirm
///     }
/// }
///
/// #[derive(Debug)]
/// struct Local {
///     key: LockKey,
///     end: watch::Receiver<()>,
/// }
///
/// #[async_trait]
/// impl LeaseState for Local {
///     fn key(&self) -> LockKey {
///         self.key
///     }
///
///     fn valid_for(&self) -> Duration {
///         if self.end.has_changed().is_ok() { Duration::MAX } else { Duration::ZERO }
///     }
///
///     async fn lost(&self) {
///         while self.end.clone().changed().await.is_ok() {}
///     }
///
///     fn on_loss(&self, _act: Box<dyn FnOnce() + Send>) {} // it is only ever released
///
///     fn error(&self) -> Error {
///         ErrorBuilder::new(ErrorKind::Lost, "the lock was released").key(self.key).build()
///     }
/// }
///
/// fn guard(key: LockKey, lock: OwnedRwLockWriteGuard<()>) -> WriteGuard {
///     let (end_of_lease, end) = watch::channel(());
///     let lease = Lease::new(Local { key, end });
///     WriteGuard::new(LocalHold { lease, _lock: lock, _end: end_of_lease })
/// }
/// # let lock = std::sync::Arc::new(tokio::sync::RwLock::new(()));
/// # let guard = guard(7.into(), lock.clone().try_write_owned().unwrap());
/// # let lease = guard.lease().clone();
/// # assert!(guard.is_held() && lock.try_read().is_err());
/// # drop(guard);
/// # assert!(!lease.is_held() && lock.try_read().is_ok());
/// ```
#[async_trait]
pub trait Hold: fmt::Debug + Send + Sync + 'static {
    /// The lease of the lock, made from a [`LeaseState`](super::LeaseState).
    fn lease(&self) -> &Lease;

    /// A number that is higher than those of earlier holders of a write lock on the same key, and
    /// the same each time for this one: see
    /// [`WriteGuard::fencing_token`](crate::WriteGuard::fencing_token).
    ///
    /// # Errors
    ///
    /// [`Lost`](crate::ErrorKind::Lost) if the lock has been lost, and
    /// [`InvalidOptions`](crate::ErrorKind::InvalidOptions) if the backend has no such numbers.
    async fn fencing_token(&self) -> Result<FencingToken>;

    /// Turns the write lock into a read lock, if the backend can. Otherwise the lock stays a write
    /// lock, which protects a reader as well.
    ///
    /// Does not block or do I/O, and lets no other writer in between.
    fn downgrade(&mut self);

    /// Turns the read lock into the write lock, if there is no other reader and the backend can.
    /// Returns whether it did; if not, the lock stays a read lock.
    ///
    /// Does not wait for other readers, and lets no other writer in between. If its future is
    /// dropped, the lock stays a read lock.
    ///
    /// # Errors
    ///
    /// [`Lost`](crate::ErrorKind::Lost) if the lock was lost before.
    async fn try_upgrade(&mut self) -> Result<bool>;

    /// Releases the lock and confirms it.
    ///
    /// # Errors
    ///
    /// [`Lost`](crate::ErrorKind::Lost) if the lock was lost before.
    async fn release(self: Box<Self>) -> Result<()>;
}
