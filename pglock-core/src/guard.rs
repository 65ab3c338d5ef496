use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Poll, ready};

use crate::driver::Hold;
use crate::engine;
use crate::error::{Error, Result};
use crate::key::LockKey;

/// The engine's own guards need no box.
enum Inner {
    Engine(engine::Held),
    Other(Box<dyn Hold>),
}

macro_rules! guard {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[must_use = "dropping the guard releases the lock at once"]
        #[clippy::has_significant_drop]
        pub struct $name {
            inner: Inner,
        }

        impl $name {
            /// Makes a guard from a backend's own type.
            pub fn new(hold: impl Hold) -> Self {
                Self { inner: Inner::Other(Box::new(hold)) }
            }

            pub(crate) fn from_engine(held: engine::Held) -> Self {
                Self { inner: Inner::Engine(held) }
            }

            /// What is locked.
            pub fn key(&self) -> LockKey {
                match &self.inner {
                    Inner::Engine(held) => held.key(),
                    Inner::Other(hold) => hold.key(),
                }
            }

            /// Whether the lock is still held, as far as this process knows.
            ///
            /// False once the session that holds the lock has ended, or has not been confirmed by
            /// the server for as long as the lease of the guards lasts, and never true again. Does
            /// no I/O. There is always a gap between this answer and what is done with it: only a
            /// resource that checks by itself can close it.
            pub fn is_held(&self) -> bool {
                match &self.inner {
                    Inner::Engine(held) => held.is_held(),
                    Inner::Other(hold) => hold.is_held(),
                }
            }

            /// Completes when the lock is lost: at once if it was lost before, never while it is
            /// held.
            ///
            /// # Cancel safety
            ///
            /// Nothing is lost when this future is dropped; whoever asks later is told as well.
            pub async fn lost(&self) {
                match &self.inner {
                    Inner::Engine(held) => held.lost().await,
                    Inner::Other(hold) => hold.lost().await,
                }
            }

            /// Works under the lock, and stops the work when the lock is lost.
            ///
            /// Before each poll of the work, it compares the clock with the lease of the guard, so
            /// a process that was stopped does not go on with work whose lock it has lost.
            ///
            /// On a loss the future is dropped where it is, at its next `await`. What it has begun
            /// elsewhere, such as a request that it has sent, goes on without it.
            ///
            /// # Cancel safety
            ///
            /// The work is dropped with this future; the lock is held on.
            ///
            /// # Errors
            ///
            /// [`Lost`](crate::ErrorKind::Lost) if the lock is lost before the work is done; the
            /// source is what ended the session.
            pub async fn protect<F: Future>(&self, work: F) -> Result<F::Output> {
                let (mut lost, mut work) = (pin!(self.lost()), pin!(work));
                poll_fn(|cx| {
                    // By the clock, in case nobody has noticed the loss yet.
                    if !self.is_held() || lost.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Err(self.loss()));
                    }
                    let output = ready!(work.as_mut().poll(cx));
                    // The poll itself may have taken longer than the lease.
                    Poll::Ready(if self.is_held() { Ok(output) } else { Err(self.loss()) })
                })
                .await
            }

            fn loss(&self) -> Error {
                match &self.inner {
                    Inner::Engine(held) => held.loss(),
                    Inner::Other(hold) => Error::lost().for_key(hold.key()),
                }
            }

            /// Does something once when the lock is lost: at once if it was lost before, never if
            /// the guard is released or dropped first.
            ///
            /// When a session ends, the functions of its guards are called one after the other, on
            /// a thread for work that blocks: a panic is caught and logged, and a function that
            /// blocks delays those behind it. If the lock is lost while the guard is being dropped,
            /// the function may still be running when the drop returns. If the lock was already
            /// lost, this method calls the function itself before it returns.
            pub fn on_loss(&self, act: impl FnOnce() + Send + 'static) {
                let act = Box::new(act);
                match &self.inner {
                    Inner::Engine(held) => held.on_loss(act),
                    Inner::Other(hold) => hold.on_loss(act),
                }
            }

            /// Cancels the token when the lock is lost: at once if it was lost before, never if the
            /// guard is released or dropped first.
            #[cfg(feature = "tokio-util")]
            pub fn cancel_on_loss(&self, token: &tokio_util::sync::CancellationToken) {
                let token = token.clone();
                self.on_loss(move || token.cancel());
            }

            /// Releases the lock and waits for the confirmation.
            ///
            /// Dropping the guard releases the lock as well, without waiting. When this returns
            /// `Ok`, others can have the lock, and the server has said that it was held without
            /// interruption until this was called. Another caller of this process may have it
            /// before that.
            ///
            /// # Cancel safety
            ///
            /// The lock is released all the same when this future is dropped; what is lost is the
            /// confirmation.
            ///
            /// # Errors
            ///
            /// [`Lost`](crate::ErrorKind::Lost) if the lock had been lost before,
            /// [`Closed`](crate::ErrorKind::Closed) if the lock manager was closed, which released
            /// it.
            pub async fn release(mut self) -> Result<()> {
                match self.inner {
                    // Borrowed, as the future would have room for each place that a guard is moved
                    // to.
                    Inner::Engine(ref mut held) => held.release().await,
                    Inner::Other(hold) => hold.release().await,
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let hold: &dyn fmt::Debug = match &self.inner {
                    Inner::Engine(held) => held,
                    Inner::Other(hold) => hold,
                };
                f.debug_tuple(stringify!($name)).field(hold).finish()
            }
        }
    };
}

guard! {
    /// A read lock, shared with other readers. Released when dropped.
    ///
    /// A task that holds it and asks for the same key again can [wait for
    /// itself](crate::DistributedRwLock#a-task-can-wait-for-itself): always for the write lock, and
    /// for another read lock if a writer has come in between.
    ReadGuard
}

guard! {
    /// A write lock, held alone. Released when dropped.
    ///
    /// A task that holds it and asks for the same key again [waits for
    /// itself](crate::DistributedRwLock#a-task-can-wait-for-itself).
    WriteGuard
}
