//! The two guards of every backend: how they are made, and how one becomes the other.

use super::{Inner, ReadGuard, WriteGuard};
use crate::driver::Hold;
use crate::engine::Held;
use crate::error::Result;

macro_rules! made_from {
    ($name:ident) => {
        impl $name {
            /// Makes a guard from a backend's own type: see [the example of
            /// `Hold`](crate::driver::Hold#examples).
            pub fn new(hold: impl Hold) -> Self {
                Self { inner: Inner::Other(Box::new(hold)) }
            }

            pub(crate) fn from_engine(held: Held) -> Self {
                Self { inner: Inner::Engine(held) }
            }
        }
    };
}

made_from!(ReadGuard);
made_from!(WriteGuard);

impl WriteGuard {
    /// Turns the write lock into a read lock. No other writer gets the lock in between.
    ///
    /// Returns at once. Readers that wait for the lock get it as soon as the server has carried out
    /// the engine's next statement, usually one round trip later. Those that wait behind a writer
    /// go on waiting. Readers of this process may share the lock at once, within the limits of a
    /// [hand-over](crate::LocksBuilder::hand_over_age).
    ///
    /// The [lease](Self::lease) continues, and functions given to [`on_loss`](Self::on_loss) stay
    /// registered. A backend that cannot turn a write lock into a read lock keeps the write lock,
    /// which protects a reader as well; so does a [dedicated session](crate::DedicatedSession).
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::{DistributedRwLock, Result};
    ///
    /// # async fn write_report() {}
    /// # async fn send_report() {}
    /// /// No process changes the report before it is sent; others read it meanwhile.
    /// async fn report(lock: &dyn DistributedRwLock) -> Result<()> {
    ///     let writer = lock.write().await?;
    ///     writer.protect(write_report()).await?;
    ///     let reader = writer.downgrade();
    ///     reader.protect(send_report()).await?;
    ///     reader.release().await
    /// }
    /// ```
    pub fn downgrade(mut self) -> ReadGuard {
        self.inner.downgrade();
        ReadGuard { inner: self.inner }
    }

    /// When the guard ends, other processes that wait have the lock before other callers of this
    /// process, however long they have waited.
    pub(crate) fn end_hand_overs(&self) {
        self.inner.end_hand_overs();
    }
}

impl ReadGuard {
    /// Turns the read lock into the write lock if no other caller holds a read lock, in this or any
    /// other process. Otherwise returns the guard with its read lock.
    ///
    /// No other writer gets the lock in between, so what was read under the read lock is still
    /// true. Writers that wait for the lock go on waiting, whether this succeeds or not.
    ///
    /// If the lock is [fenced](crate::RwLock::fenced), every reader, this one included, counts
    /// until the transactions that it has fenced have ended.
    ///
    /// It makes one round trip, and does not wait for other readers, because two readers could then
    /// wait for each other for ever. So do not repeat it in a loop either. To wait, take an
    /// [upgradable](crate::RwLock::upgradable_read) read lock.
    ///
    /// # Cancel safety
    ///
    /// **Dropping this future releases the read lock**, because the future owns the guard.
    ///
    /// # Errors
    ///
    /// [`Lost`](crate::ErrorKind::Lost) if the read lock was lost before; otherwise see
    /// [`ErrorKind`](crate::ErrorKind). An error drops the guard, which releases the read lock.
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::{ReadGuard, Result};
    ///
    /// # async fn is_current() -> bool { true }
    /// # async fn rebuild() {}
    /// /// Rebuilds the index if it is out of date and no other caller searches it.
    /// async fn refresh(reader: ReadGuard) -> Result<()> {
    ///     if reader.protect(is_current()).await? {
    ///         return reader.release().await;
    ///     }
    ///     match reader.try_upgrade().await? {
    ///         Ok(writer) => {
    ///             writer.protect(rebuild()).await?;
    ///             writer.release().await
    ///         }
    ///         Err(reader) => reader.release().await, // another caller still reads
    ///     }
    /// }
    /// ```
    pub async fn try_upgrade(mut self) -> Result<Result<WriteGuard, Self>> {
        let is_upgraded = self.inner.try_upgrade().await?;
        Ok(if is_upgraded { Ok(WriteGuard { inner: self.inner }) } else { Err(self) })
    }
}
