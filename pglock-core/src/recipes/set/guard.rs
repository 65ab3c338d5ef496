//! The guard of a set.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use super::lease_of_all;
use crate::error::Result;
use crate::guard::AnyGuard;
use crate::key::LockKey;
use crate::lease::Lease;
use crate::recipes::together::together;

/// All locks of a [`LockSet`](super::LockSet). Releases them when dropped.
///
/// It counts as held while *all* of its locks are held, and as lost as soon as one of them is.
#[must_use = "dropping the guard releases the locks at once"]
#[clippy::has_significant_drop]
pub struct SetGuard {
    first: LockKey,
    /// At least one, in the order of their keys.
    guards: Vec<AnyGuard>,
    /// Made when it is first asked for.
    lease: OnceLock<Lease>,
}

impl SetGuard {
    pub(super) fn new(first: LockKey, guards: Vec<AnyGuard>) -> Self {
        Self { first, guards, lease: OnceLock::new() }
    }

    /// The keys that are locked, in ascending order.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(guard: pglock_core::SetGuard) {
    /// for key in guard.keys() {
    ///     println!("the lock {key} is held");
    /// }
    /// # }
    /// ```
    pub fn keys(&self) -> impl Iterator<Item = LockKey> {
        self.guards.iter().map(AnyGuard::key)
    }

    /// Reports whether all locks are still held, to code that does not own the guard. Clone it; a
    /// clone may outlive the guard.
    ///
    /// Its [`key`](Lease::key) is the first key of the set.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn report_progress() {}
    /// # fn example(guard: &pglock_core::SetGuard) {
    /// let lease = guard.lease().clone();
    /// tokio::spawn(async move { lease.protect(report_progress()).await });
    /// # }
    /// ```
    pub fn lease(&self) -> &Lease {
        self.lease.get_or_init(|| lease_of_all(self.first, &self.guards))
    }

    /// Whether all locks are still held, as far as this process knows: see [`Lease::is_held`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn step() -> bool { false }
    /// # fn example(guard: &pglock_core::SetGuard) {
    /// // Between the steps of a long computation, which `protect` cannot stop:
    /// while guard.is_held() && step() {}
    /// # }
    /// ```
    pub fn is_held(&self) -> bool {
        self.guards.iter().all(AnyGuard::is_held)
    }

    /// How long this process may rely on the locks without hearing from the server again: see
    /// [`Lease::valid_for`].
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn send() {}
    /// # async fn example(guard: &pglock_core::SetGuard) {
    /// // A request that must not outlast the locks:
    /// let sent = tokio::time::timeout(guard.valid_for(), send()).await;
    /// # }
    /// ```
    pub fn valid_for(&self) -> Duration {
        self.lease().valid_for()
    }

    /// Completes when one of the locks is lost: at once if one is lost already. See
    /// [`Lease::lost`].
    ///
    /// # Cancel safety
    ///
    /// Dropping this future loses nothing; a later call reports the loss as well.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn work() {}
    /// # async fn example(guard: &pglock_core::SetGuard) {
    /// tokio::select! {
    ///     biased;
    ///     () = guard.lost() => println!("stopped"),
    ///     () = work() => println!("done"),
    /// }
    /// # }
    /// ```
    pub async fn lost(&self) {
        self.lease().lost().await;
    }

    /// Runs work under the locks, and stops it when one of them is lost: see [`Lease::protect`].
    ///
    /// # Cancel safety
    ///
    /// Dropping this future drops the work; the locks stay held.
    ///
    /// # Errors
    ///
    /// [`Lost`](crate::ErrorKind::Lost) if a lock is lost before the work is done. The error names
    /// that lock.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(guard: pglock_core::SetGuard) -> pglock_core::Result<()> {
    /// guard.protect(async { /* the work */ }).await?;
    /// guard.release().await
    /// # }
    /// ```
    pub async fn protect<F: Future>(&self, work: F) -> Result<F::Output> {
        self.lease().protect(work).await
    }

    /// Calls a function once when a lock is lost, even if several are: at once if one is lost
    /// already, never if the guard is released or dropped first. See [`Lease::on_loss`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(guard: &pglock_core::SetGuard) {
    /// guard.on_loss(|| eprintln!("a lock was lost"));
    /// # }
    /// ```
    pub fn on_loss(&self, act: impl FnOnce() + Send + 'static) {
        self.lease().on_loss(act);
    }

    /// Cancels the token when one of the locks is lost: at once if one is lost already, never if
    /// the guard is released or dropped first.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(guard: &pglock_core::SetGuard) {
    /// let token = tokio_util::sync::CancellationToken::new();
    /// guard.cancel_on_loss(&token);
    /// # }
    /// ```
    #[cfg(feature = "tokio-util")]
    pub fn cancel_on_loss(&self, token: &tokio_util::sync::CancellationToken) {
        self.lease().cancel_on_loss(token);
    }

    /// Releases all locks and waits for the confirmation.
    ///
    /// Dropping the guard releases them as well, without waiting.
    ///
    /// # Cancel safety
    ///
    /// If this future is dropped, the locks are released anyway, but without confirmation.
    ///
    /// # Errors
    ///
    /// [`Lost`](crate::ErrorKind::Lost) if one of the locks had been lost before; the others are
    /// released anyway. [`Closed`](crate::ErrorKind::Closed) if the lock manager was closed.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(guard: pglock_core::SetGuard) {
    /// if let Err(error) = guard.release().await {
    ///     println!("check what has been done: {error}");
    /// }
    /// # }
    /// ```
    pub async fn release(self) -> Result<()> {
        let releases = self.into_guards().into_iter().map(AnyGuard::release);
        together(releases).await.into_iter().collect()
    }

    /// The guards of the single locks, in the order of their keys, for example to release some of
    /// them early. A lease of the set ends with the first release.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(guard: pglock_core::SetGuard) {
    /// use pglock_core::Mode;
    ///
    /// // Releases the read locks, and keeps the write locks.
    /// let mut guards = guard.into_guards();
    /// guards.retain(|guard| guard.mode() == Mode::Write);
    /// # }
    /// ```
    pub fn into_guards(self) -> Vec<AnyGuard> {
        self.guards
    }
}

impl fmt::Debug for SetGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SetGuard").field(&self.guards).finish()
    }
}
