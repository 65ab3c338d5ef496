//! How guards keep a holder that has lost its lock from writing.

use super::inner::Inner;
use super::{AnyGuard, ReadGuard, UpgradableReadGuard, WriteGuard};
use crate::driver::Transaction;
use crate::error::{Error, ErrorKind, Result};
use crate::fence::fence;
use crate::key::LockKey;
use crate::token::FencingToken;
use crate::transaction::TransactionLocks;

macro_rules! fence {
    ($($name:ident)*) => {
        $(impl $name {
            /// Fences a transaction of the application, so that a holder that was stopped or cut
            /// off cannot write after its successor.
            ///
            /// The fence takes the *gate*, an advisory lock that ends with the transaction, and
            /// then checks that the lock is still held. If the lock has been lost, the fence fails.
            /// If it returns `Ok`, every fence of a later holder that excludes this one waits until
            /// the transaction has ended, even if this lock is lost or released meanwhile.
            ///
            /// Call it first in a transaction on the database of the lock, and write only after it
            /// has returned. It costs a statement in the transaction, and one in the session of the
            /// lock. The transaction may run behind a pooler in transaction mode.
            ///
            /// The fences of a write lock exclude all other fences of the key. The fences of a read
            /// lock exclude those of write locks only. A successor sees what this transaction
            /// commits if it looks in a fenced transaction of its own; to see it everywhere, mark
            /// the lock by [`fenced`](crate::RwLock::fenced).
            ///
            /// Rolling back to a savepoint from before this call takes the fence away. After an
            /// upgrade, the transaction is still fenced as that of a reader: end it, and fence
            /// another one with the write guard.
            ///
            /// # Cancel safety
            ///
            /// If this future is dropped, roll the transaction back.
            ///
            /// # Errors
            ///
            /// Roll the transaction back after each of these:
            ///
            /// * [`Lost`](crate::ErrorKind::Lost) if the lock is not held any more.
            /// * [`InvalidOptions`](crate::ErrorKind::InvalidOptions) if no transaction is open, if
            ///   it is in another database, or if it is above READ COMMITTED and
            ///   [`at_any_isolation`](TransactionLocks::at_any_isolation) does not allow that.
            ///   Guards of dedicated sessions, and of backends without the engine, cannot fence.
            /// * Errors of the server or the client; see [`ErrorKind`].
            ///
            /// # Examples
            ///
            /// ```
            /// use pglock_core::driver::Transaction;
            /// use pglock_core::{Result, TransactionLocks, WriteGuard};
            ///
            /// /// `locks` is `tx.locks()`.
            /// async fn begin_write<T: Transaction>(
            ///     guard: &WriteGuard,
            ///     locks: TransactionLocks<T>,
            /// ) -> Result<()> {
            ///     guard.fence(locks).await
            ///     // … now write in the transaction, and commit it …
            /// }
            /// ```
            pub async fn fence<T: Transaction>(&self, locks: TransactionLocks<T>) -> Result<()> {
                match &self.inner {
                    Inner::Engine(held) => fence(held, locks).await,
                    Inner::Other(hold) => Err(no_fence(hold.lease().key())),
                }
            }
        })*
    };
}

fence!(ReadGuard UpgradableReadGuard WriteGuard);

impl WriteGuard {
    /// A number that is higher than those of all earlier holders of this key, for a resource that
    /// is not in the database of the lock and refuses a lower number than it has seen.
    ///
    /// The first call asks the server, which uses a transaction id and flushes a commit; later
    /// calls return the same token. A read lock has none, because readers may come in any order.
    /// See [`FencingToken`].
    ///
    /// # Cancel safety
    ///
    /// Dropping this future loses nothing.
    ///
    /// # Errors
    ///
    /// [`Lost`](ErrorKind::Lost) if the lock is not held any more;
    /// [`InvalidOptions`](ErrorKind::InvalidOptions) if it has no tokens, as in a dedicated
    /// session; otherwise see [`ErrorKind`].
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(guard: &pglock_core::WriteGuard) -> pglock_core::Result<()> {
    /// let token: i64 = guard.fencing_token().await?.into();
    /// println!("PUT /reports/daily?token={token}");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn fencing_token(&self) -> Result<FencingToken> {
        match &self.inner {
            Inner::Engine(held) => held.fencing_token().await,
            Inner::Other(hold) => hold.fencing_token().await,
        }
    }
}

impl AnyGuard {
    /// Fences a transaction of the application: see [`WriteGuard::fence`].
    ///
    /// # Cancel safety
    ///
    /// If this future is dropped, roll the transaction back.
    ///
    /// # Errors
    ///
    /// As [`WriteGuard::fence`]. Roll the transaction back.
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::driver::Transaction;
    /// use pglock_core::{AnyGuard, Result, TransactionLocks};
    ///
    /// /// `locks` is `tx.locks()`.
    /// async fn begin<T: Transaction>(guard: &AnyGuard, locks: TransactionLocks<T>) -> Result<()> {
    ///     guard.fence(locks).await
    /// }
    /// ```
    pub async fn fence<T: Transaction>(&self, locks: TransactionLocks<T>) -> Result<()> {
        match self {
            Self::Read(guard) => guard.fence(locks).await,
            Self::Write(guard) => guard.fence(locks).await,
        }
    }

    /// The fencing token of a write lock: see [`WriteGuard::fencing_token`].
    ///
    /// # Cancel safety
    ///
    /// Dropping this future loses nothing.
    ///
    /// # Errors
    ///
    /// As [`WriteGuard::fencing_token`]; [`InvalidOptions`](ErrorKind::InvalidOptions) for a read
    /// lock, which has no token.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(guard: &pglock_core::AnyGuard) -> pglock_core::Result<()> {
    /// println!("PUT /reports/daily?token={}", guard.fencing_token().await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn fencing_token(&self) -> Result<FencingToken> {
        match self {
            Self::Read(guard) => Err(Error::new(
                ErrorKind::InvalidOptions,
                "a read lock has no fencing token, because readers may come in any order: \
                 take the write lock",
            )
            .for_key(guard.key())),
            Self::Write(guard) => guard.fencing_token().await,
        }
    }
}

/// The error of a guard that belongs to a dedicated session, or to a backend without the engine.
fn no_fence(key: LockKey) -> Error {
    let why = "only a guard of Locks::rwlock on PostgreSQL can fence a transaction";
    Error::new(ErrorKind::InvalidOptions, why).for_key(key)
}
