//! The read lock that can become the write lock.

use std::time::Duration;

use super::RwLock;
use crate::engine::Patience;
use crate::error::Result;
use crate::guard::UpgradableReadGuard;
use crate::key::{LockKey, NamedKey};
use crate::mode::Mode;

/// Never change it: programs of different versions meet on these keys.
const NAMESPACE: &str = "pglock-upgrade";

/// The key of the right to upgrade: derived from the text of the key, in a namespace of its own.
fn right(key: LockKey) -> NamedKey {
    NamedKey::in_namespace(NAMESPACE, &key.to_string())
}

impl RwLock {
    /// Waits for a read lock that can become the write lock.
    ///
    /// It shares the lock with other readers, but at any time only one caller of all processes has
    /// an upgradable read lock on a key; the next one waits. So an
    /// [upgrade](UpgradableReadGuard::upgrade) can wait for the other readers without a deadlock.
    /// Use it to read, decide, and then perhaps write. If you always write, [`write`](Self::write)
    /// costs less.
    ///
    /// It takes a second lock at the server, for the right to upgrade, and one more round trip. The
    /// key of that lock is `NamedKey::in_namespace("pglock-upgrade", &key.to_string())`.
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
    /// use pglock_core::{Result, RwLock};
    ///
    /// # async fn is_current() -> bool { true }
    /// # async fn rebuild() {}
    /// /// Rebuilds the index if it is out of date, and keeps readers out only while it does.
    /// async fn refresh(lock: &RwLock) -> Result<()> {
    ///     let reader = lock.upgradable_read().await?;
    ///     if reader.protect(is_current()).await? {
    ///         return reader.release().await;
    ///     }
    ///     let writer = reader.upgrade().await?; // waits for the other readers
    ///     writer.protect(rebuild()).await?;
    ///     writer.release().await
    /// }
    /// ```
    pub async fn upgradable_read(&self) -> Result<UpgradableReadGuard> {
        let right = self.right().wait(Mode::Write).await.map_err(|error| self.about(error))?;
        Ok(UpgradableReadGuard::new(self.wait(Mode::Read).await?, right))
    }

    /// Takes an upgradable read lock, or returns `None` if a writer holds the lock or waits for it,
    /// or if another caller has an upgradable read lock.
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
    /// if let Some(guard) = lock.try_upgradable_read().await? {
    ///     // … read, and upgrade if need be …
    ///     guard.release().await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn try_upgradable_read(&self) -> Result<Option<UpgradableReadGuard>> {
        let right = self.right().acquire(Mode::Write, Patience::Try).await;
        let Some(right) = right.map_err(|error| self.about(error))? else {
            return Ok(None);
        };
        let held = self.acquire(Mode::Read, Patience::Try).await?;
        Ok(held.map(|held| UpgradableReadGuard::new(held, right)))
    }

    /// Waits for an upgradable read lock, up to `timeout`. Zero does not wait: it tries once.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the place in the queue, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// [`Timeout`](crate::ErrorKind::Timeout) if the lock was not free in time: see
    /// [`DistributedRwLock::try_read_for`](crate::DistributedRwLock::try_read_for). The error names
    /// the holders of the lock, or of the right to upgrade.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(lock: pglock_core::RwLock) -> pglock_core::Result<()> {
    /// use std::time::Duration;
    ///
    /// let guard = lock.try_upgradable_read_for(Duration::from_secs(2)).await?;
    /// // … read, and upgrade if need be …
    /// guard.release().await
    /// # }
    /// ```
    pub async fn try_upgradable_read_for(&self, timeout: Duration) -> Result<UpgradableReadGuard> {
        let begin = self.client.now();
        let right = self.right().wait_for(Mode::Write, timeout).await;
        let right = right.map_err(|error| self.about(error))?;
        let left = timeout.saturating_sub(self.client.now().saturating_sub(begin));
        Ok(UpgradableReadGuard::new(self.wait_for(Mode::Read, left).await?, right))
    }

    fn right(&self) -> Self {
        let lock = Self::new(self.client.clone(), right(self.key));
        Self { gives_up: self.gives_up, ..lock }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_right_to_upgrade_never_change() {
        for (key, expected) in [
            (LockKey::from(42), -7444365650172574168),
            (LockKey::from(-1), -2841508373314728498),
            (LockKey::from((5, 7)), -7478957244551542242),
            (LockKey::from((i32::MIN, i32::MAX)), 1992426298656227572),
            (LockKey::from("reports/daily"), 6674308978648622592),
        ] {
            assert_eq!(right(key).key().as_bigint(), Some(expected), "{key}");
        }
    }
}
