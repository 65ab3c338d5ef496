//! A permit: what a caller holds of a semaphore.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::taking::Taken;
use crate::recipes::together::together;
use crate::{Lease, Result, WriteGuard};

/// One or several permits of a [`Semaphore`](super::Semaphore). Dropping it releases them.
///
/// Like every lock, a permit may be lost before that: see [`Lease`]. If one of several is lost, all
/// count as lost.
///
/// # Examples
///
/// ```
/// use pglock_core::recipes::semaphore::Permit;
///
/// async fn work(permit: Permit) {
///     permit.on_loss(|| eprintln!("the permit is lost"));
///     let lease = permit.lease().clone(); // for code that does not own the permit
///     tokio::select! {
///         biased;
///         () = permit.lost() => {}
///         () = async { /* … */ } => assert!(permit.is_held()),
///     }
///     println!("valid for {:?}", permit.valid_for());
///     drop(permit); // releases it
///     assert!(!lease.is_held());
/// }
/// ```
#[must_use = "dropping the permit releases it at once"]
#[clippy::has_significant_drop]
pub struct Permit {
    slots: Box<[u32]>,
    guards: Vec<WriteGuard>,
    lease: Lease,
    shared: Arc<Shared>,
}

impl Permit {
    pub(super) fn new(mut taken: Vec<Taken>, shared: Arc<Shared>) -> Self {
        taken.sort_unstable_by_key(|taken| taken.slot);
        let leases = taken.iter().map(|taken| taken.guard.lease().clone()).collect();
        let lease = Lease::all(shared.keys.key(), leases);
        let (slots, guards): (Vec<_>, _) =
            taken.into_iter().map(|taken| (taken.slot, taken.guard)).unzip();
        Self { slots: slots.into(), guards, lease, shared }
    }

    /// The numbers of these permits, in ascending order. Each is below the number of permits of the
    /// semaphore, and no other caller has it. In a pool, they show which of the resources to use.
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::Result;
    /// use pglock_core::recipes::semaphore::Semaphore;
    ///
    /// const PRINTERS: [&str; 3] = ["ground floor", "first floor", "attic"];
    ///
    /// async fn print(printers: &Semaphore) -> Result<()> {
    ///     let permit = printers.acquire().await?;
    ///     for &slot in permit.slots() {
    ///         println!("printing on the {}", PRINTERS[slot as usize]);
    ///     }
    ///     permit.release().await
    /// }
    /// ```
    pub fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// Reports whether the permits are still held, to code that does not own them. Clone it; a
    /// clone may outlive them.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Whether the permits are still held, as far as this process knows: see [`Lease::is_held`].
    pub fn is_held(&self) -> bool {
        self.lease.is_held()
    }

    /// How long this process may rely on the permits without hearing from the server again: see
    /// [`Lease::valid_for`].
    pub fn valid_for(&self) -> Duration {
        self.lease.valid_for()
    }

    /// Completes when a permit is lost: at once if it was lost before. See [`Lease::lost`].
    ///
    /// # Cancel safety
    ///
    /// Dropping this future loses nothing; a later call reports the loss as well.
    pub async fn lost(&self) {
        self.lease.lost().await;
    }

    /// Runs work with the permits, and stops it when one is lost: see [`Lease::protect`].
    ///
    /// # Cancel safety
    ///
    /// Dropping this future drops the work; the permits stay held.
    ///
    /// # Errors
    ///
    /// [`Lost`](crate::ErrorKind::Lost) if a permit is lost before the work is done.
    pub async fn protect<F: Future>(&self, work: F) -> Result<F::Output> {
        self.lease.protect(work).await
    }

    /// Calls a function once when a permit is lost: see [`Lease::on_loss`].
    pub fn on_loss(&self, act: impl FnOnce() + Send + 'static) {
        self.lease.on_loss(act);
    }

    /// Cancels the token when a permit is lost: see [`Lease::cancel_on_loss`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(permit: &pglock_core::recipes::semaphore::Permit) {
    /// use tokio_util::sync::CancellationToken;
    ///
    /// let token = CancellationToken::new();
    /// permit.cancel_on_loss(&token);
    /// # }
    /// ```
    #[cfg(feature = "tokio-util")]
    pub fn cancel_on_loss(&self, token: &tokio_util::sync::CancellationToken) {
        self.lease.cancel_on_loss(token);
    }

    /// Releases the permits and waits for the confirmation.
    ///
    /// When this returns `Ok`, others can have them, and the server has confirmed that they were
    /// held without interruption until this call.
    ///
    /// # Cancel safety
    ///
    /// If this future is dropped, the permits are released anyway, but without confirmation.
    ///
    /// # Errors
    ///
    /// [`Lost`](crate::ErrorKind::Lost) if a permit had been lost before,
    /// [`Closed`](crate::ErrorKind::Closed) if the lock manager was closed.
    pub async fn release(mut self) -> Result<()> {
        let guards = std::mem::take(&mut self.guards);
        let released = together(guards.into_iter().map(WriteGuard::release)).await;
        released.into_iter().collect()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.guards.clear();
        // A waiting caller of this process checks at once.
        self.shared.freed.notify_one();
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("semaphore", &self.shared.keys.name())
            .field("slots", &self.slots)
            .field("is_held", &self.is_held())
            .finish_non_exhaustive()
    }
}
