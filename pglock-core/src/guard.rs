//! Guards, which hold a lock until they are released or dropped.

mod any;
mod fencing;
mod inner;
mod modes;
mod upgradable;

use std::fmt;
use std::time::Duration;

pub use self::any::AnyGuard;
use self::inner::Inner;
pub use self::upgradable::Refused;
use self::upgradable::Right;

use crate::error::Result;
use crate::key::LockKey;
use crate::lease::Lease;

macro_rules! guard {
    ($(#[$doc:meta])* $name:ident $(, $field:ident: $type:ty)?) => {
        $(#[$doc])*
        #[must_use = "dropping the guard releases the lock at once"]
        #[clippy::has_significant_drop]
        pub struct $name {
            inner: Inner,
            $($field: $type,)?
        }

        impl $name {
            /// Reports whether the lock is still held, to code that does not own the guard. Clone
            /// it; a clone may outlive the guard.
            ///
            /// # Examples
            ///
            /// ```
            /// # fn example(guard: &pglock_core::WriteGuard) {
            /// let lease = guard.lease().clone();
            /// tokio::spawn(async move {
            ///     lease.lost().await;
            ///     println!("the lock {} is not held any more", lease.key());
            /// });
            /// # }
            /// ```
            pub fn lease(&self) -> &Lease {
                self.inner.lease()
            }

            /// The key that is locked.
            ///
            /// # Examples
            ///
            /// ```
            /// # fn example(guard: pglock_core::WriteGuard) {
            /// println!("the lock {} is held", guard.key());
            /// # }
            /// ```
            pub fn key(&self) -> LockKey {
                self.inner.key()
            }

            /// Whether the lock is still held, as far as this process knows: see
            /// [`Lease::is_held`].
            ///
            /// # Examples
            ///
            /// ```
            /// # fn next() -> bool { false }
            /// # fn step() {}
            /// # fn example(guard: &pglock_core::WriteGuard) {
            /// // Between the steps of a long computation, which `protect` cannot stop:
            /// while guard.is_held() && next() {
            ///     step();
            /// }
            /// # }
            /// ```
            pub fn is_held(&self) -> bool {
                self.inner.is_held()
            }

            /// How long this process may rely on the lock without hearing from the server again:
            /// see [`Lease::valid_for`].
            ///
            /// # Examples
            ///
            /// ```
            /// # async fn request() {}
            /// # async fn example(guard: &pglock_core::WriteGuard) {
            /// if tokio::time::timeout(guard.valid_for(), request()).await.is_err() {
            ///     println!("no answer while the lock was certainly held");
            /// }
            /// # }
            /// ```
            pub fn valid_for(&self) -> Duration {
                self.inner.valid_for()
            }

            /// Completes when the lock is lost: at once if it is lost already, never while it is
            /// held. See [`Lease::lost`].
            ///
            /// # Cancel safety
            ///
            /// Dropping this future loses nothing; a later call reports the loss as well.
            ///
            /// # Examples
            ///
            /// ```
            /// # async fn next() -> Option<u32> { None }
            /// # async fn example(guard: &pglock_core::WriteGuard) {
            /// loop {
            ///     tokio::select! {
            ///         biased;
            ///         () = guard.lost() => break, // first, so that a loss goes before work
            ///         job = next() => match job {
            ///             Some(job) => println!("job {job}"),
            ///             None => break,
            ///         },
            ///     }
            /// }
            /// # }
            /// ```
            pub async fn lost(&self) {
                self.lease().lost().await;
            }

            /// Runs work under the lock, and stops it when the lock is lost: see
            /// [`Lease::protect`].
            ///
            /// # Cancel safety
            ///
            /// Dropping this future drops the work; the lock stays held.
            ///
            /// # Errors
            ///
            /// [`Lost`](crate::ErrorKind::Lost) if the lock is lost before the work is done; the
            /// source is the error that ended the session.
            ///
            /// # Examples
            ///
            /// ```
            /// use pglock_core::{ErrorKind, Result, WriteGuard};
            ///
            /// /// False if the lock was lost, and the work stopped.
            /// async fn work(guard: &WriteGuard) -> Result<bool> {
            ///     match guard.protect(async { /* the work */ }).await {
            ///         Ok(()) => Ok(true),
            ///         Err(error) if error.kind() == ErrorKind::Lost => Ok(false),
            ///         Err(error) => Err(error),
            ///     }
            /// }
            /// ```
            pub async fn protect<F: Future>(&self, work: F) -> Result<F::Output> {
                self.lease().protect(work).await
            }

            /// Calls a function once when the lock is lost: at once if it is lost already, never if
            /// the guard is released or dropped first. See [`Lease::on_loss`].
            ///
            /// # Examples
            ///
            /// ```
            /// # fn example(guard: &pglock_core::WriteGuard) {
            /// use std::sync::Arc;
            /// use std::sync::atomic::{AtomicBool, Ordering};
            ///
            /// let stop = Arc::new(AtomicBool::new(false)); // that a thread of yours checks
            /// let flag = stop.clone();
            /// guard.on_loss(move || flag.store(true, Ordering::Relaxed));
            /// # }
            /// ```
            pub fn on_loss(&self, act: impl FnOnce() + Send + 'static) {
                self.lease().on_loss(act);
            }

            /// Cancels the token when the lock is lost: at once if it is lost already, never if the
            /// guard is released or dropped first.
            ///
            /// # Examples
            ///
            /// ```
            /// # fn example(guard: &pglock_core::WriteGuard) {
            /// use tokio_util::sync::CancellationToken;
            ///
            /// let token = CancellationToken::new();
            /// guard.cancel_on_loss(&token);
            /// // … give clones of the token to the tasks that work under the lock …
            /// # }
            /// ```
            #[cfg(feature = "tokio-util")]
            pub fn cancel_on_loss(&self, token: &tokio_util::sync::CancellationToken) {
                self.lease().cancel_on_loss(token);
            }

            /// Releases the lock and waits for the confirmation.
            ///
            /// Dropping the guard releases the lock as well, without waiting. If this returns `Ok`,
            /// the server has confirmed that the lock was held without interruption until the call,
            /// and others can have it now. Another caller of this process may get it earlier.
            ///
            /// # Cancel safety
            ///
            /// If this future is dropped, the lock is released anyway, but without confirmation.
            ///
            /// # Errors
            ///
            /// [`Lost`](crate::ErrorKind::Lost) if the lock had been lost before,
            /// [`Closed`](crate::ErrorKind::Closed) if the lock manager was closed, which released
            /// it.
            ///
            /// # Examples
            ///
            /// ```
            /// # async fn example(guard: pglock_core::WriteGuard) {
            /// match guard.release().await {
            ///     Ok(()) => println!("the lock was held all the time"),
            ///     Err(error) => println!("check what has been done: {error}"),
            /// }
            /// # }
            /// ```
            pub async fn release(mut self) -> Result<()> {
                let released = match self.inner {
                    // Borrowed, because the future would otherwise have room for each place to
                    // which a guard is moved.
                    Inner::Engine(ref mut held) => held.release().await,
                    Inner::Other(hold) => hold.release().await,
                };
                $(self.$field.release().await;)?
                released
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.inner).finish()
            }
        }
    };
}

guard! {
    /// A read lock, shared with other readers. Released when dropped.
    ///
    /// A task that holds it and asks for the same key again can [wait for
    /// itself](crate::DistributedRwLock#a-task-can-wait-for-itself). It does so whenever it asks for
    /// the write lock, and when it asks for another read lock after a writer has queued.
    ReadGuard
}

guard! {
    /// A write lock, held alone. Released when dropped.
    ///
    /// A task that holds it and asks for the same key again [waits for
    /// itself](crate::DistributedRwLock#a-task-can-wait-for-itself).
    WriteGuard
}

guard! {
    /// A read lock that can become the write lock, from
    /// [`RwLock::upgradable_read`](crate::RwLock::upgradable_read). Released when dropped.
    ///
    /// It shares the lock with other readers. At any time, one caller of all processes has an
    /// upgradable read lock on a key. A task that holds it and asks for the same key again can [wait
    /// for itself](crate::DistributedRwLock#a-task-can-wait-for-itself).
    UpgradableReadGuard,
    right: Right
}
