//! Waits for permits up to a timeout.

use std::time::Duration;

use super::{Permit, Semaphore};
use crate::{Error, Result};

/// How long the server may take to report the holders after the timeout.
const LOOK_TIMEOUT: Duration = Duration::from_millis(25);

impl Semaphore {
    /// Waits for a permit, up to `timeout`. Zero does not wait: it tries once.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the place in the queue, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// [`Timeout`](crate::ErrorKind::Timeout) if no permit was free in time. The error names the
    /// [holders](Error::holders) if the server answers in time. If it does not answer, the error
    /// reports that instead. Otherwise as [`acquire`](Self::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use pglock_core::recipes::semaphore::{Permit, Semaphore};
    /// use pglock_core::{ErrorKind, Result};
    ///
    /// /// None if the machine is too busy.
    /// async fn capacity(capacity: &Semaphore, is_large: bool) -> Result<Option<Permit>> {
    ///     let patience = Duration::from_secs(5);
    ///     let permit = match is_large {
    ///         true => capacity.try_acquire_many_for(4, patience).await,
    ///         false => capacity.try_acquire_for(patience).await,
    ///     };
    ///     match permit {
    ///         Ok(permit) => Ok(Some(permit)),
    ///         Err(error) if error.kind() == ErrorKind::Timeout => Ok(None),
    ///         Err(error) => Err(error),
    ///     }
    /// }
    /// ```
    pub async fn try_acquire_for(&self, timeout: Duration) -> Result<Permit> {
        self.try_acquire_many_for(1, timeout).await
    }

    /// Waits for this many permits, up to `timeout`. Zero does not wait: it tries once.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the place in the queue, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// The same as for [`try_acquire_for`](Self::try_acquire_for) and
    /// [`acquire_many`](Self::acquire_many).
    pub async fn try_acquire_many_for(&self, count: u32, timeout: Duration) -> Result<Permit> {
        self.measured(self.wait_for(count, timeout), |_| true).await
    }

    async fn wait_for(&self, count: u32, timeout: Duration) -> Result<Permit> {
        let refused = if timeout.is_zero() {
            match self.try_once(count).await? {
                Some(permit) => return Ok(permit),
                None => true,
            }
        } else {
            let time_out = async {
                self.shared.locks.sleep(timeout).await;
                // While this caller is in line, to see what it waits for.
                self.shared.line.is_refused()
            };
            tokio::select! {
                biased;
                permit = self.wait(count) => return permit,
                refused = time_out => refused,
            }
        };
        Err(self.timed_out(refused).await)
    }

    /// `refused`: whether permits are known to be lacking. Otherwise it is not even known whether
    /// the server is reachable.
    async fn timed_out(&self, refused: bool) -> Error {
        let shared = &self.shared;
        let holders = tokio::select! {
            biased;
            holders = self.holders() => holders,
            () = shared.locks.sleep(LOOK_TIMEOUT) => Err(Error::unanswered()),
        };
        let error = match holders {
            Ok(holders) => {
                Error::no_permit(holders.into_iter().map(|(_, holder)| holder).collect())
            }
            Err(_) if refused => Error::no_permit(Vec::new()),
            Err(error) => error,
        };
        error.named(shared.keys.key(), Some(shared.keys.name().into()))
    }
}
