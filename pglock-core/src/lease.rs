//! Leases: they show whether a lock is still held, and can outlive its guard.

mod all;

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use async_trait::async_trait;

use crate::error::{Error, Result};
use crate::key::LockKey;

/// Shows whether a lock is still held, and how long this process may rely on it: from `lease()` of
/// a [`ReadGuard`](crate::ReadGuard) or a [`WriteGuard`](crate::WriteGuard).
///
/// Cloning is cheap. A clone can go to code that works under the lock but does not own the guard,
/// and may outlive the guard. It does not keep the lock: when the guard is released or dropped, the
/// clone reports that the lock is not held any more.
///
/// | | the lock is held | the lock is lost | the guard was released or dropped |
/// |---|---|---|---|
/// | [`is_held`](Self::is_held) | true | false | false |
/// | [`valid_for`](Self::valid_for) | above zero | zero | zero |
/// | [`lost`](Self::lost) | waits | completes | completes |
/// | [`protect`](Self::protect) | works | fails with [`Lost`](crate::ErrorKind::Lost) | fails with `Lost`; the text says that the lock was released |
/// | functions of [`on_loss`](Self::on_loss) | wait | are called once | are dropped |
///
/// # Examples
///
/// ```
/// use pglock_core::{Lease, Locks, Result};
///
/// async fn import(locks: &Locks) -> Result<()> {
///     let guard = locks.rwlock("import").write().await?;
///     let lease = guard.lease().clone();
///     tokio::spawn(async move { report_progress(&lease).await });
///     guard.protect(async { /* … */ }).await?;
///     guard.release().await
/// }
///
/// /// Ends with the lock, however that ends.
/// async fn report_progress(lease: &Lease) {
///     let report = async { /* … */ };
///     if let Err(error) = lease.protect(report).await {
///         eprintln!("no longer reporting: {error}");
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Lease {
    state: Arc<dyn LeaseState>,
}

/// The state behind a [`Lease`], for a backend without the engine.
///
/// # Contract
///
/// - The lock counts as held until it is lost or released, and never again after that.
/// - All clones of a lease share this value, which may outlive the guard. So it must not own
///   whatever holds the lock.
///
/// See [the example of `Hold`](crate::driver::Hold#examples).
#[async_trait]
pub trait LeaseState: fmt::Debug + Send + Sync + 'static {
    /// The key that is locked.
    fn key(&self) -> LockKey;

    /// How long this process may rely on the lock without hearing from the server. Zero as soon as
    /// the holder can know that the lock is lost, and after it was released; [`Duration::MAX`] if
    /// the backend knows no such bound. Does no I/O.
    fn valid_for(&self) -> Duration;

    /// Completes when the lock is lost or released: at once if that has happened already.
    async fn lost(&self);

    /// Calls `act` once when the lock is lost: at once if it is lost already, never if it is
    /// released before it is lost.
    fn on_loss(&self, act: Box<dyn FnOnce() + Send>);

    /// Why the lock is not held: an error of the kind [`Lost`](crate::ErrorKind::Lost).
    fn error(&self) -> Error;
}

impl Lease {
    /// Makes a lease from a backend's own state: see [the example of
    /// `Hold`](crate::driver::Hold#examples).
    pub fn new(state: impl LeaseState) -> Self {
        Self { state: Arc::new(state) }
    }

    pub(crate) fn from_shared(state: Arc<dyn LeaseState>) -> Self {
        Self { state }
    }

    /// The key that is locked.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(lease: pglock_core::Lease) {
    /// println!("working under the lock {}", lease.key());
    /// # }
    /// ```
    pub fn key(&self) -> LockKey {
        self.state.key()
    }

    /// Whether the lock is still held, as far as this process knows. Does no I/O.
    ///
    /// False once the lock was released, its session has ended, or the
    /// [guard lease](crate::LocksBuilder::guard_lease) has passed without a reply from the server.
    /// It never becomes true again. There is always a gap between this answer and what you do with
    /// it: only a resource that makes its own check can close it.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn step() -> bool { false }
    /// # fn example(lease: pglock_core::Lease) {
    /// std::thread::spawn(move || {
    ///     // Between the steps of a long computation, which `protect` cannot stop:
    ///     while lease.is_held() && step() {}
    /// });
    /// # }
    /// ```
    pub fn is_held(&self) -> bool {
        !self.valid_for().is_zero()
    }

    /// How long this process may rely on the lock without hearing from the server again. Zero once
    /// the lock is lost or released. Does no I/O.
    ///
    /// It is at most the [guard lease](crate::LocksBuilder::guard_lease), and each answer of the
    /// server extends it. Use it as the timeout of a request that must not outlast the lock.
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::Lease;
    /// use tokio::time::timeout;
    ///
    /// # async fn send_order() {}
    /// /// False if the answer did not come while the lock was certainly held.
    /// async fn order(lease: &Lease) -> bool {
    ///     timeout(lease.valid_for(), send_order()).await.is_ok()
    /// }
    /// ```
    pub fn valid_for(&self) -> Duration {
        self.state.valid_for()
    }

    /// Completes when the lock is no longer held: at once if it was lost or released already.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future loses nothing; a later call reports the loss as well.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(lease: pglock_core::Lease) {
    /// tokio::spawn(async move {
    ///     lease.lost().await;
    ///     println!("the lock {} is not held any more", lease.key());
    /// });
    /// # }
    /// ```
    pub async fn lost(&self) {
        self.state.lost().await;
    }

    /// Runs work under the lock, and stops it when the lock is lost or released.
    ///
    /// Before each poll of the work, it compares the clock with the lease. So a process that was
    /// stopped does not continue work whose lock it has lost.
    ///
    /// On a loss, the future is dropped at its next `await`. Whatever it has started outside
    /// itself, such as a request that it has sent, continues without it.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future drops the work; the lock stays held.
    ///
    /// # Errors
    ///
    /// [`Lost`](crate::ErrorKind::Lost) if the lock is lost or released before the work is done. If
    /// it was lost, the source is the error that ended the session.
    pub async fn protect<F: Future>(&self, work: F) -> Result<F::Output> {
        let (mut lost, mut work) = (pin!(self.lost()), pin!(work));
        poll_fn(|cx| {
            // By the clock, in case the loss has not been noticed yet.
            if !self.is_held() || lost.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(self.state.error()));
            }
            let output = ready!(work.as_mut().poll(cx));
            // The poll itself may have taken longer than the lease.
            Poll::Ready(if self.is_held() { Ok(output) } else { Err(self.state.error()) })
        })
        .await
    }

    /// Calls a function once when the lock is lost: at once if it is lost already, never if the
    /// guard is released or dropped first.
    ///
    /// When a session ends, the engine calls the functions of its leases one after another, on a
    /// thread for blocking work. It catches and logs panics. A function that blocks delays those
    /// behind it. If the lock is lost while the guard is being dropped, the function may still be
    /// running when the drop returns. If the lock is already lost, this method calls the function
    /// itself before it returns.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(lease: pglock_core::Lease) {
    /// let key = lease.key();
    /// lease.on_loss(move || eprintln!("the lock {key} was lost"));
    /// # }
    /// ```
    pub fn on_loss(&self, act: impl FnOnce() + Send + 'static) {
        self.state.on_loss(Box::new(act));
    }

    /// Cancels the token when the lock is lost: at once if it is lost already, never if the guard
    /// is released or dropped first.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(lease: pglock_core::Lease) {
    /// use tokio_util::sync::CancellationToken;
    ///
    /// let token = CancellationToken::new();
    /// lease.cancel_on_loss(&token);
    /// # }
    /// ```
    #[cfg(feature = "tokio-util")]
    pub fn cancel_on_loss(&self, token: &tokio_util::sync::CancellationToken) {
        let token = token.clone();
        self.on_loss(move || token.cancel());
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("key", &self.key())
            .field("valid_for", &self.valid_for())
            .finish()
    }
}
