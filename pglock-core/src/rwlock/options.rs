//! Options of a lock: fenced, and failing in a deadlock.

use super::RwLock;
use crate::fence::gate_of;

impl RwLock {
    /// Lets each acquire also wait until the fenced transactions of earlier holders have ended.
    /// Mark the lock like this wherever it is used.
    ///
    /// A [fence](crate::WriteGuard::fence) keeps fenced transactions in order. What a holder does
    /// outside of one, or in a snapshot that is older than its fence, may miss the last commit of
    /// an earlier holder that has lost the lock, or released it before the commit. With a fenced
    /// lock, a holder sees everything that its predecessors have committed, as soon as it has the
    /// guard.
    ///
    /// This costs a round trip each time that a caller gets the lock, even from another caller of
    /// this process, and room for one more lock while it lasts. Until the transactions have ended,
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

    /// Lets a wait for this lock, or for an upgrade of one of its guards, fail with
    /// [`Deadlock`](crate::ErrorKind::Deadlock) if it is part of a deadlock.
    ///
    /// pglock finds a deadlock within ten seconds, and may only suspect it: see
    /// [`Deadlock`](crate::Deadlock). If several waits in it would fail, only that for the lowest
    /// key does. The caller keeps what it holds, and must release that to let the others continue.
    ///
    /// This is for callers that can begin again. Without it, a wait in a deadlock lasts until its
    /// timeout. If the keys are known beforehand, take them as a [set](crate::Locks::set): sets
    /// cannot be in a deadlock with each other.
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
}
