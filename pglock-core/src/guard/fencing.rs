//! What guards do so that a holder that has lost its lock cannot write.

use super::inner::Inner;
use super::{ReadGuard, WriteGuard};
use crate::driver::Transaction;
use crate::error::{Error, ErrorKind, Result};
use crate::fence::fence;
use crate::key::LockKey;
use crate::token::FencingToken;
use crate::transaction::TransactionLocks;

macro_rules! fence {
    ($($name:ident)*) => {
        $(impl $name {
            /// Fences a transaction of the application: it commits only if no later holder can have
            /// written before it.
            ///
            /// When this returns `Ok`, the lock was held while the transaction had the *gate*, an
            /// advisory lock that ends with the transaction. Until it has ended, every fence of a
            /// later holder that excludes this one waits, even if this lock is lost or released
            /// meanwhile. If the lock has been lost, the fence fails. So a holder that was stopped,
            /// or cut off, cannot write after its successor.
            ///
            /// Call it first in the transaction, on the database of the lock, and write only after
            /// it has returned. It costs a statement in the transaction, and one in the session of the
            /// lock. The transaction may run behind a pooler in transaction mode.
            ///
            /// The fences of a write lock exclude all other fences of the key. The fences of a read
            /// lock exclude those of write locks only. A successor sees what this transaction
            /// commits if it looks in a fenced transaction of its own; to see it everywhere, mark
            /// the lock by [`fenced`](crate::RwLock::fenced).
            ///
            /// Rolling back to a savepoint from before this call takes the fence away.
            ///
            /// # Cancel safety
            ///
            /// If this future is dropped, roll the transaction back.
            ///
            /// # Errors
            ///
            /// [`Lost`](crate::ErrorKind::Lost) if the lock is not held any more.
            /// [`InvalidOptions`](crate::ErrorKind::InvalidOptions) if the transaction is in another
            /// database, outside a transaction, and above READ COMMITTED unless
            /// [`at_any_isolation`](TransactionLocks::at_any_isolation) allows it. In each case, roll
            /// the transaction back.
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

fence!(ReadGuard WriteGuard);

impl WriteGuard {
    /// A number that is higher than those of all earlier holders of this key: for a resource that is
    /// not in the database of the lock, and refuses writes with a lower number than it has seen.
    ///
    /// The first call asks the server, which flushes a commit for it and uses a transaction id;
    /// later calls return the same token. A read lock has none, because readers may come in any
    /// order. See [`FencingToken`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when this future is dropped.
    ///
    /// # Errors
    ///
    /// [`Lost`](ErrorKind::Lost) if the lock is not held any more; see [`ErrorKind`].
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

/// Of a dedicated session, or of a backend without the engine.
fn no_fence(key: LockKey) -> Error {
    let why = "only a guard of Locks::rwlock on PostgreSQL can fence a transaction";
    Error::new(ErrorKind::InvalidOptions, why).for_key(key)
}
