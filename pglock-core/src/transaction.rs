//! Locks that belong to a transaction of the application.

pub(crate) mod acquire;
mod fencing;

use std::fmt;
use std::time::Duration;

use crate::driver::Transaction;
use crate::error::Result;
use crate::key::NamedKey;
use crate::mode::Mode;

/// Takes locks in a transaction of the application: on its connection, and until it ends.
///
/// There is no guard. PostgreSQL releases the locks when the transaction commits or rolls back, or as
/// soon as one of its statements fails; nothing else can release them. They exclude the guards of a
/// [`Locks`](crate::Locks) manager on the same key and database.
///
/// Use them for short work that only touches the database, and behind poolers in transaction mode.
/// For work with other effects, such as requests, take a guard: a transaction that stays open
/// meanwhile holds back vacuum and occupies a connection of the pool.
///
/// If a nested transaction (a savepoint) is rolled back or fails, the server releases the locks that
/// were taken in it.
///
/// # A failed acquire
///
/// leaves the transaction, its settings and its connection as they were: the application can
/// continue in the same transaction.
///
/// # Timeouts of the role
///
/// A wait lasts as long as the lock is busy, whatever `lock_timeout` and `statement_timeout` are,
/// and does not change them. Only `transaction_timeout` (PostgreSQL 17) may end it, and with it the
/// connection: the acquire fails with [`Connection`](crate::ErrorKind::Connection). PostgreSQL
/// forgets that timeout when the first slice of the wait is over.
///
/// # Isolation
///
/// Above READ COMMITTED, a transaction reads from a snapshot that is older than the lock: it would
/// not see what the previous holder committed. So an acquire fails there with
/// [`InvalidOptions`](crate::ErrorKind::InvalidOptions). Take a guard before the transaction begins, or
/// call [`at_any_isolation`](Self::at_any_isolation) if the work does not read what the lock
/// protects.
///
/// # Cancel safety
///
/// The statement runs on the connection of the application, which nothing else can cancel. If a
/// future of a waiting method is dropped, the connection is busy until the lock is granted or the
/// current slice of the wait ends: `deadlock_timeout` and a second, by default 2 seconds. Roll the
/// transaction back then, as a dropped transaction does: it may hold the lock, and settings of the
/// wait. To bound a wait, use the `try_…_for` methods.
///
/// # Examples
///
/// An adapter makes the locks from its client's transaction, as in `tx.locks()`.
///
/// ```
/// use std::time::Duration;
///
/// use pglock_core::driver::Transaction;
/// use pglock_core::{Result, TransactionLocks};
///
/// async fn pay<T: Transaction>(tx: T) -> Result<bool> {
///     let mut locks = TransactionLocks::new(tx);
///     locks.read("prices").await?; // waits
///     locks.try_write_for("customer/7", Duration::from_secs(5)).await?; // waits for 5 s at most
///     if !locks.try_write("invoice/42").await? {
///         return Ok(false); // another session is paying it
///     }
///     // … updates; the commit releases the locks …
///     Ok(true)
/// }
///
/// /// In a REPEATABLE READ transaction whose work does not read what the lock protects.
/// async fn log<T: Transaction>(tx: T) -> Result<()> {
///     let mut locks = TransactionLocks::new(tx).at_any_isolation();
///     if !locks.try_read("log").await? {
///         locks.write("log/overflow").await?;
///     }
///     Ok(())
/// }
/// ```
pub struct TransactionLocks<T> {
    transaction: T,
    any_isolation: bool,
}

impl<T: Transaction> TransactionLocks<T> {
    /// Locks in this transaction. Adapters make `T` from the transaction of their client.
    pub fn new(transaction: T) -> Self {
        Self { transaction, any_isolation: false }
    }

    /// Also takes locks in a REPEATABLE READ or SERIALIZABLE transaction, which may not see what the
    /// previous holder committed.
    #[must_use]
    pub fn at_any_isolation(self) -> Self {
        Self { any_isolation: true, ..self }
    }

    /// Takes the read lock unless a writer holds or awaits it. Returns false in that case.
    ///
    /// # Cancel safety
    ///
    /// If this future is dropped, the transaction may hold the lock.
    ///
    /// # Errors
    ///
    /// [`InvalidOptions`](crate::ErrorKind::InvalidOptions) outside a transaction or above READ COMMITTED,
    /// [`UnsupportedServer`](crate::ErrorKind::UnsupportedServer) on a standby; see [`ErrorKind`](crate::ErrorKind).
    pub fn try_read(
        &mut self,
        key: impl Into<NamedKey>,
    ) -> impl Future<Output = Result<bool>> + Send {
        self.try_lock(key.into(), Mode::Read)
    }

    /// Takes the write lock unless another session holds the lock. Returns false in that case.
    ///
    /// # Cancel safety
    ///
    /// If this future is dropped, the transaction may hold the lock.
    ///
    /// # Errors
    ///
    /// The same as for [`try_read`](Self::try_read).
    pub fn try_write(
        &mut self,
        key: impl Into<NamedKey>,
    ) -> impl Future<Output = Result<bool>> + Send {
        self.try_lock(key.into(), Mode::Write)
    }

    /// Waits for the read lock.
    ///
    /// The session waits in the server's queue, and goes to its end every 2 seconds.
    ///
    /// # Cancel safety
    ///
    /// See [above](Self#cancel-safety).
    ///
    /// # Errors
    ///
    /// As [`try_read`](Self::try_read); [`Deadlock`](crate::ErrorKind::Deadlock) if this transaction and
    /// others wait for each other, in locks of rows, too.
    pub fn read(&mut self, key: impl Into<NamedKey>) -> impl Future<Output = Result<()>> + Send {
        self.lock(key.into(), Mode::Read, None)
    }

    /// Waits for the write lock.
    ///
    /// The session waits in the server's queue, and goes to its end every 2 seconds.
    ///
    /// # Cancel safety
    ///
    /// See [above](Self#cancel-safety).
    ///
    /// # Errors
    ///
    /// The same as for [`read`](Self::read).
    pub fn write(&mut self, key: impl Into<NamedKey>) -> impl Future<Output = Result<()>> + Send {
        self.lock(key.into(), Mode::Write, None)
    }

    /// Waits for the read lock, but no longer than `timeout`. Zero tries once.
    ///
    /// # Cancel safety
    ///
    /// See [above](Self#cancel-safety).
    ///
    /// # Errors
    ///
    /// [`Timeout`](crate::ErrorKind::Timeout) if the lock was not free in time; otherwise as
    /// [`read`](Self::read). Shorter than the server's `deadlock_timeout`, a deadlock is a timeout.
    pub fn try_read_for(
        &mut self,
        key: impl Into<NamedKey>,
        timeout: Duration,
    ) -> impl Future<Output = Result<()>> + Send {
        self.lock(key.into(), Mode::Read, Some(timeout))
    }

    /// Waits for the write lock, but no longer than `timeout`. Zero tries once.
    ///
    /// # Cancel safety
    ///
    /// See [above](Self#cancel-safety).
    ///
    /// # Errors
    ///
    /// The same as for [`try_read_for`](Self::try_read_for).
    pub fn try_write_for(
        &mut self,
        key: impl Into<NamedKey>,
        timeout: Duration,
    ) -> impl Future<Output = Result<()>> + Send {
        self.lock(key.into(), Mode::Write, Some(timeout))
    }
}

impl<T> fmt::Debug for TransactionLocks<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionLocks")
            .field("any_isolation", &self.any_isolation)
            .finish_non_exhaustive()
    }
}
