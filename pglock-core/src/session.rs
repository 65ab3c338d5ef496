//! Dedicated sessions: one server session for several locks of the application.

mod acquire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::{Client, Dedicated, SessionPatience as Patience};
use crate::error::Result;
use crate::guard::{ReadGuard, WriteGuard};
use crate::key::NamedKey;
use crate::mode::Mode;

/// One server session that holds several locks and also waits for them, from
/// [`Locks::session`](crate::Locks::session).
///
/// Use it where locks nest, or where several are taken in an order that can cause a deadlock. For
/// everything else, [`Locks::rwlock`](crate::Locks::rwlock) is better: it needs no connection of
/// its own, waits in order, and reconnects.
///
/// # Locks stack
///
/// The guards of a session never wait for each other, whichever tasks have them. The session grants
/// a second guard of the same key and mode at once, and releases the lock with the last of them. It
/// can also have guards of both modes of a key: `write` on a key that the session reads is an
/// upgrade, which PostgreSQL grants when the session is the only reader. The guards of a session
/// exclude those of any other session, and of [`Locks::rwlock`](crate::Locks::rwlock) on the same
/// manager.
///
/// A guard of a session keeps its mode: after [`downgrade`](WriteGuard::downgrade), other sessions
/// still find a write lock, and [`try_upgrade`](crate::ReadGuard::try_upgrade) returns the read
/// guard. It has neither a fence nor a fencing token.
///
/// # Deadlocks
///
/// The session waits while it holds locks, so PostgreSQL sees which sessions wait for each other.
/// After its `deadlock_timeout`, by default 1 second, it ends the wait of one of them with
/// [`Deadlock`](crate::ErrorKind::Deadlock). That session keeps the locks that it holds: release
/// them before you try again. PostgreSQL cannot see a deadlock in which a task waits for a
/// [`Locks::rwlock`](crate::Locks::rwlock).
///
/// # Waits
///
/// A session waits for one lock at a time; its other waits queue behind that one. To release or try
/// a lock meanwhile, the session interrupts its wait and then joins the end of PostgreSQL's queue.
/// It also does so to renew its lease, by default every 7.5 seconds
/// ([`guard_lease`](crate::LocksBuilder::guard_lease) less
/// [`heartbeat`](crate::LocksBuilder::heartbeat)), or after
/// [`renew_waits_after`](crate::LocksBuilder::renew_waits_after) if that is sooner, but not before
/// PostgreSQL has looked for a deadlock. So PostgreSQL does not grant long waits in order of
/// arrival, and reads of other sessions that overlap and take longer than that can starve a write.
///
/// # Cost
///
/// A session is a connection, with a heartbeat. To interrupt a wait, it opens a second one for a
/// moment. If the role may not cancel its own statements, as after `SET ROLE`, releases wait until
/// the session pauses its wait by itself, about once in a `deadlock_timeout`. A session takes no
/// lock beyond the manager's [`max_locks`](crate::LocksBuilder::max_locks), and
/// [`Stats`](crate::Stats) does not include its locks.
///
/// # The end
///
/// The session ends with [`close`](Self::close), with [`Locks::close`](crate::Locks::close), or
/// when it and its last guard are dropped. If the connection breaks, or the server does not answer
/// within the guard lease, all guards report the loss, and every later call fails: open another
/// session.
///
/// # Examples
///
/// ```
/// use pglock_core::{ErrorKind, Locks, Result};
///
/// /// Moves money between two accounts, in whatever order they are named.
/// async fn transfer(locks: &Locks, from: u32, to: u32) -> Result<()> {
///     let session = locks.session().await?;
///     loop {
///         let first = session.write(from).await?;
///         match session.write(to).await {
///             Ok(second) => {
///                 first.protect(async { /* … */ }).await?;
///                 second.release().await?;
///                 first.release().await?;
///                 return session.close().await;
///             }
///             // Another process moves money in the opposite direction: let it finish.
///             Err(error) if error.kind() == ErrorKind::Deadlock => first.release().await?,
///             Err(error) => return Err(error),
///         }
///     }
/// }
/// ```
pub struct DedicatedSession {
    client: Arc<Client>,
    session: Arc<Dedicated>,
}

impl DedicatedSession {
    pub(crate) async fn open(client: &Arc<Client>) -> Result<Self> {
        let (session, opened) = client.start_session()?;
        // Closes the session if this future is dropped.
        let session = Self { client: client.clone(), session };
        match opened.await {
            Ok(opened) => opened?,
            Err(_) => return Err(session.session.why_stopped().await),
        }
        Ok(session)
    }

    /// Takes the read lock, or returns `None` if a writer of another session holds it or waits for
    /// it.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future leaves nothing behind.
    ///
    /// # Errors
    ///
    /// A busy lock is no error; see [`ErrorKind`](crate::ErrorKind).
    pub async fn try_read(&self, key: impl Into<NamedKey>) -> Result<Option<ReadGuard>> {
        let hold = self.acquire(key.into(), Mode::Read, Patience::Try).await?;
        Ok(hold.map(ReadGuard::new))
    }

    /// Waits for the read lock.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future ends the wait, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// [`Deadlock`](crate::ErrorKind::Deadlock) if this session and others wait for each other; see
    /// [`ErrorKind`](crate::ErrorKind).
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(session: pglock_core::DedicatedSession) -> pglock_core::Result<()> {
    /// let parent = session.read("folder").await?;
    /// let child = session.write("folder/file").await?;
    /// # drop((parent, child));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read(&self, key: impl Into<NamedKey>) -> Result<ReadGuard> {
        let hold = self.wait(key.into(), Mode::Read, None).await?;
        Ok(ReadGuard::new(hold))
    }

    /// Waits for the read lock, up to `timeout`. Zero does not wait: it tries once.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future ends the wait, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// [`Timeout`](crate::ErrorKind::Timeout) if the lock was not free in time, even in a deadlock
    /// that PostgreSQL would have found later. Otherwise as for [`read`](Self::read).
    pub async fn try_read_for(
        &self,
        key: impl Into<NamedKey>,
        timeout: Duration,
    ) -> Result<ReadGuard> {
        let hold = self.wait(key.into(), Mode::Read, Some(timeout)).await?;
        Ok(ReadGuard::new(hold))
    }

    /// Takes the write lock, or returns `None` if another session holds the lock or waits for it.
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
    /// # async fn example(session: pglock_core::DedicatedSession) -> pglock_core::Result<()> {
    /// use std::time::Duration;
    ///
    /// let Some(prices) = session.try_read("prices").await? else {
    ///     return Ok(()); // they are being changed
    /// };
    /// let customer = session.try_read_for("customer/7", Duration::from_secs(1)).await?;
    /// let stock = session.try_write_for("stock", Duration::from_secs(5)).await?;
    /// if let Some(invoice) = session.try_write("invoice/42").await? {
    ///     invoice.release().await?;
    /// }
    /// # drop((prices, customer, stock));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn try_write(&self, key: impl Into<NamedKey>) -> Result<Option<WriteGuard>> {
        let hold = self.acquire(key.into(), Mode::Write, Patience::Try).await?;
        Ok(hold.map(WriteGuard::new))
    }

    /// Waits for the write lock.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future ends the wait, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read).
    pub async fn write(&self, key: impl Into<NamedKey>) -> Result<WriteGuard> {
        let hold = self.wait(key.into(), Mode::Write, None).await?;
        Ok(WriteGuard::new(hold))
    }

    /// Waits for the write lock, up to `timeout`. Zero does not wait: it tries once.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future ends the wait, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// As for [`try_read_for`](Self::try_read_for).
    pub async fn try_write_for(
        &self,
        key: impl Into<NamedKey>,
        timeout: Duration,
    ) -> Result<WriteGuard> {
        let hold = self.wait(key.into(), Mode::Write, Some(timeout)).await?;
        Ok(WriteGuard::new(hold))
    }

    /// The `pid` of the session in `pg_stat_activity`.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(locks: pglock_core::Locks) -> pglock_core::Result<()> {
    /// let session = locks.session().await?;
    /// println!("locks are held by pid {}", session.backend_pid());
    /// # Ok(())
    /// # }
    /// ```
    pub fn backend_pid(&self) -> i32 {
        // It is known once the session is open.
        self.session.pid().unwrap_or_default()
    }

    /// Releases every lock of the session, ends its waits and closes its connection.
    ///
    /// Waiting calls and all later calls fail with [`Closed`](crate::ErrorKind::Closed). Guards
    /// that still exist have lost their locks. `close` returns when the server has confirmed that
    /// the locks are free and the connection is closed. After 5 seconds without an answer, it drops
    /// the connection and returns.
    ///
    /// # Cancel safety
    ///
    /// If this future is dropped, the session still closes; only the confirmation is lost.
    ///
    /// # Errors
    ///
    /// Returns no errors at present.
    pub async fn close(&self) -> Result<()> {
        self.client.close_session(&self.session).await;
        Ok(())
    }
}

impl Drop for DedicatedSession {
    fn drop(&mut self) {
        self.session.leave();
    }
}

impl fmt::Debug for DedicatedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.session.fmt(f)
    }
}
