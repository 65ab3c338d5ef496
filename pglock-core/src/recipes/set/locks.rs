//! How a manager makes sets.

use std::sync::Arc;

use super::{LockSet, SetGuard};
use crate::{Locks, NamedKey, Result};

impl Locks {
    /// Starts a set of keys that are locked together: all of them, or none. Does no I/O.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(locks: pglock_core::Locks) -> pglock_core::Result<()> {
    /// let guard = locks.set().read("tenant/42").write("invoice/7").acquire().await?;
    /// guard.protect(async { /* … */ }).await?;
    /// guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set(&self) -> LockSet {
        LockSet::new(Arc::new(self.clone()))
    }

    /// Waits for the write locks of all these keys, as a [`set`](Self::set).
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the place in the queue, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// As for [`LockSet::acquire`].
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(locks: pglock_core::Locks) -> pglock_core::Result<()> {
    /// let guard = locks.write_all(["account/1", "account/2"]).await?;
    /// // … move money …
    /// drop(guard);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write_all<K: Into<NamedKey>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<SetGuard> {
        let set = keys.into_iter().fold(self.set(), LockSet::write);
        set.acquire().await
    }

    /// Waits for the read locks of all these keys, as a [`set`](Self::set).
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the place in the queue, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// As for [`write_all`](Self::write_all).
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(locks: pglock_core::Locks) -> pglock_core::Result<()> {
    /// let guard = locks.read_all(["prices", "taxes"]).await?;
    /// // … read what no writer can change now …
    /// drop(guard);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read_all<K: Into<NamedKey>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<SetGuard> {
        let set = keys.into_iter().fold(self.set(), LockSet::read);
        set.acquire().await
    }
}
