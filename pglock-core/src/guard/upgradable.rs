//! Upgradable read locks, and what a refused upgrade returns.

use std::error::Error as StdError;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::{Inner, ReadGuard, UpgradableReadGuard, WriteGuard};
use crate::engine::{Held, Obstacle, Patience};
use crate::error::{Error, Result};

/// The right to upgrade a read lock. It is released after the read lock.
pub(super) struct Right(Held);

impl Right {
    /// Ignores a loss, because nothing was done under the right alone.
    pub(super) async fn release(mut self) {
        let _ = self.0.release().await;
    }
}

impl UpgradableReadGuard {
    pub(crate) fn new(held: Held, right: Held) -> Self {
        Self { inner: Inner::Engine(held), right: Right(right) }
    }

    /// Waits until all other readers have released the lock, and turns the read lock into the write
    /// lock.
    ///
    /// No other writer gets the lock in between, so what was read under the read lock is still
    /// true. The upgrade goes ahead of writers that wait, and no reader that comes later gets the
    /// lock first, unless the wait [is renewed](crate::LocksBuilder::renew_waits_after). It cannot
    /// deadlock with another upgrade, because only one caller at a time has an upgradable read
    /// lock. A task that holds another read lock on the same key waits for itself.
    ///
    /// The upgrade of a [fenced](crate::RwLock::fenced) lock also waits until all transactions that
    /// readers have fenced have ended, **including those that this guard has fenced**: end them
    /// before you upgrade.
    ///
    /// # Cancel safety
    ///
    /// **Dropping this future releases the read lock**, because the future owns the guard.
    /// [`try_upgrade_for`](Self::try_upgrade_for) returns the guard when the time runs out.
    ///
    /// # Errors
    ///
    /// [`Lost`](crate::ErrorKind::Lost) if the read lock or the right to upgrade it was lost;
    /// otherwise see [`ErrorKind`](crate::ErrorKind). The error comes with the
    /// [guard](Refused::guard), which keeps its read lock unless that was lost.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(lock: pglock_core::RwLock) -> pglock_core::Result<()> {
    /// let reader = lock.upgradable_read().await?;
    /// // … read, while others read …
    /// let writer = reader.upgrade().await?;
    /// // … write: no other caller has changed what was read …
    /// writer.release().await
    /// # }
    /// ```
    #[allow(clippy::result_large_err, reason = "the error has the guard, as it was passed in")]
    pub async fn upgrade(mut self) -> Result<WriteGuard, Refused<Self>> {
        match self.wait_alone(&AtomicBool::new(false)).await {
            Ok(()) => Ok(WriteGuard { inner: self.inner }),
            Err(error) => Err(Refused { guard: self, error }),
        }
    }

    /// Turns the read lock into the write lock if no other caller holds a read lock. Otherwise
    /// returns the guard with its read lock: see [`ReadGuard::try_upgrade`].
    ///
    /// # Cancel safety
    ///
    /// **Dropping this future releases the read lock**, because the future owns the guard.
    ///
    /// # Errors
    ///
    /// As [`ReadGuard::try_upgrade`]. An error drops the guard, which releases the read lock.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(lock: pglock_core::RwLock) -> pglock_core::Result<()> {
    /// let reader = lock.upgradable_read().await?;
    /// match reader.try_upgrade().await? {
    ///     Ok(writer) => writer.release().await,
    ///     Err(reader) => reader.release().await, // other callers still read
    /// }
    /// # }
    /// ```
    pub async fn try_upgrade(mut self) -> Result<Result<WriteGuard, Self>> {
        let is_upgraded = self.inner.try_upgrade().await?;
        Ok(if is_upgraded { Ok(WriteGuard { inner: self.inner }) } else { Err(self) })
    }

    /// Upgrades as [`upgrade`](Self::upgrade) does, and waits up to `timeout`. Zero does not wait:
    /// it tries once.
    ///
    /// # Cancel safety
    ///
    /// **Dropping this future releases the read lock**, because the future owns the guard.
    ///
    /// # Errors
    ///
    /// [`Timeout`](crate::ErrorKind::Timeout) if other callers still held a read lock when the time
    /// ran out, or a transaction was open that an earlier holder of a
    /// [fenced](crate::RwLock::fenced) lock has fenced: the error names which. Otherwise as
    /// [`upgrade`](Self::upgrade). The error comes with the [guard](Refused::guard).
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(reader: pglock_core::UpgradableReadGuard) -> pglock_core::Result<()> {
    /// use std::time::Duration;
    ///
    /// match reader.try_upgrade_for(Duration::from_secs(1)).await {
    ///     Ok(writer) => writer.release().await,
    ///     Err(refused) => {
    ///         println!("reading on: {}", refused.error);
    ///         refused.guard.release().await
    ///     }
    /// }
    /// # }
    /// ```
    #[allow(clippy::result_large_err, reason = "the error has the guard, as it was passed in")]
    pub async fn try_upgrade_for(mut self, timeout: Duration) -> Result<WriteGuard, Refused<Self>> {
        match self.wait_alone_for(timeout).await {
            Ok(()) => Ok(WriteGuard { inner: self.inner }),
            Err(error) => Err(Refused { guard: self, error }),
        }
    }

    /// Gives up the right to upgrade, and keeps the read lock. Returns at once; another caller may
    /// get an upgradable read lock.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(lock: pglock_core::RwLock) -> pglock_core::Result<()> {
    /// let reader = lock.upgradable_read().await?.downgrade();
    /// // … read on …
    /// reader.release().await
    /// # }
    /// ```
    pub fn downgrade(self) -> ReadGuard {
        ReadGuard { inner: self.inner }
    }

    /// If this fails or is dropped, the guard keeps its read lock.
    async fn wait_alone(&mut self, at_gate: &AtomicBool) -> Result<()> {
        let Self { inner, right: Right(right) } = self;
        if !right.is_held() {
            return Err(inner.about(Error::right_lost()));
        }
        let upgraded = tokio::select! {
            biased;
            upgraded = inner.upgrade(Patience::Wait, at_gate) => upgraded?,
            // Another caller may have the right by now, and the two would wait for each other.
            () = right.lease().lost() => return Err(inner.about(Error::right_lost())),
        };
        // Only a try is refused.
        if upgraded { Ok(()) } else { Err(inner.about(Error::mismatched_reply())) }
    }

    async fn wait_alone_for(&mut self, timeout: Duration) -> Result<()> {
        let (client, key, gate) = (self.right.0.client(), self.key(), self.inner.gate());
        let at_gate = AtomicBool::new(false);
        let awaited_gate = || gate.filter(|_| at_gate.load(Relaxed));
        let obstacle = if timeout.is_zero() {
            if self.inner.upgrade(Patience::Try, &at_gate).await? {
                return Ok(());
            }
            Obstacle::Busy
        } else {
            let mut upgrade = pin!(self.wait_alone(&at_gate));
            match client.within(timeout, &mut upgrade).await {
                Some(upgraded) => return upgraded,
                // While the upgrade is in line, to see what it waits for.
                None => client.obstacle(awaited_gate().unwrap_or(key), timeout),
            }
        };
        Err(self.inner.about(client.timed_out(key, awaited_gate(), obstacle).await))
    }
}

/// The error of an upgrade, with the guard.
///
/// It converts to its [`Error`], so `?` works, but that drops the guard and so releases the lock.
///
/// # Examples
///
/// ```
/// use pglock_core::{Refused, UpgradableReadGuard};
///
/// fn read_on(refused: Refused<UpgradableReadGuard>) -> UpgradableReadGuard {
///     println!("reading on: {}", refused.error);
///     refused.guard
/// }
/// ```
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers take it apart")]
#[must_use = "dropping the guard releases the lock at once"]
pub struct Refused<G> {
    /// Keeps its read lock, unless the error reports the loss of that.
    pub guard: G,
    /// Why the upgrade failed.
    pub error: Error,
}

impl<G> From<Refused<G>> for Error {
    fn from(refused: Refused<G>) -> Self {
        refused.error
    }
}

impl<G> fmt::Display for Refused<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the read lock was not upgraded")
    }
}

impl<G: fmt::Debug> StdError for Refused<G> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.error)
    }
}
