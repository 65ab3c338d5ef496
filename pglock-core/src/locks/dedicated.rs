//! How a manager opens a dedicated session.

use super::Locks;
use crate::error::Result;
use crate::session::DedicatedSession;

impl Locks {
    /// Opens a server session of its own, which can hold several locks and wait for more.
    ///
    /// It costs a connection; [`DedicatedSession`] says when to use one. The driver and the options
    /// are those of the manager.
    ///
    /// # Cancel safety
    ///
    /// If this future is dropped, the session closes.
    ///
    /// # Errors
    ///
    /// [`InvalidOptions`](crate::ErrorKind::InvalidOptions) if the server's `deadlock_timeout` is
    /// longer than the session can wait at a time, which is
    /// [`guard_lease`](crate::LocksBuilder::guard_lease) less
    /// [`heartbeat`](crate::LocksBuilder::heartbeat). Otherwise the errors of connecting, which it
    /// tries once; see [`ErrorKind`](crate::ErrorKind).
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(locks: pglock_core::Locks) -> pglock_core::Result<()> {
    /// let session = locks.session().await?;
    /// let from = session.write("account/1").await?;
    /// let to = session.write("account/2").await?;
    /// // … the transfer …
    /// drop((from, to));
    /// session.close().await
    /// # }
    /// ```
    pub async fn session(&self) -> Result<DedicatedSession> {
        DedicatedSession::open(&self.client).await
    }
}
