//! The trait from which a backend without the engine makes its guards.

use std::fmt;

use async_trait::async_trait;

use crate::error::Result;
use crate::lease::Lease;

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
#[async_trait]
pub trait Hold: fmt::Debug + Send + Sync + 'static {
    /// The lease of the lock, made from a [`LeaseState`](super::LeaseState).
    fn lease(&self) -> &Lease;

    /// Releases the lock and confirms it.
    ///
    /// # Errors
    ///
    /// [`Lost`](crate::ErrorKind::Lost) if the lock was lost before.
    async fn release(self: Box<Self>) -> Result<()>;
}
