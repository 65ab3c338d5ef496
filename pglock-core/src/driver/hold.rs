//! The trait from which a backend without the engine makes its guards.

use std::fmt;

use async_trait::async_trait;

use crate::error::Result;
use crate::key::LockKey;

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
/// - [`is_held`](Self::is_held) turns false as soon as the holder can know that the lock is lost,
///   and never turns true again.
#[async_trait]
pub trait Hold: fmt::Debug + Send + Sync + 'static {
    /// The key that is locked.
    fn key(&self) -> LockKey;

    /// Whether the lock is still held, as far as this process knows. Does no I/O.
    fn is_held(&self) -> bool;

    /// Completes when the lock is lost: at once if it was lost before, never if it is released.
    async fn lost(&self);

    /// Calls `act` once when the lock is lost: at once if it was lost before, never if the value is
    /// dropped first.
    fn on_loss(&self, act: Box<dyn FnOnce() + Send>);

    /// Releases the lock and confirms it.
    ///
    /// # Errors
    ///
    /// [`Lost`](crate::ErrorKind::Lost) if the lock was lost before.
    async fn release(self: Box<Self>) -> Result<()>;
}
