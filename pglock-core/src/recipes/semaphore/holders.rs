//! Lists who holds the permits of a semaphore.

use super::Semaphore;
use crate::recipes::together::together;
use crate::{LockEntry, Result};

impl Semaphore {
    /// The number of free permits, as the server sees it: a permit that is just being released may
    /// count as held.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future leaves nothing behind.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`](crate::ErrorKind).
    pub async fn available(&self) -> Result<u32> {
        let held = self.holders().await?.len();
        Ok(self.permits() - u32::try_from(held).unwrap_or(u32::MAX).min(self.permits()))
    }

    /// The holders of permits, each with the number of its permit.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future leaves nothing behind.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`](crate::ErrorKind).
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::Result;
    /// use pglock_core::recipes::semaphore::Semaphore;
    ///
    /// async fn list(encoders: &Semaphore) -> Result<()> {
    ///     println!("{} of {} are free", encoders.available().await?, encoders.permits());
    ///     for (slot, holder) in encoders.holders().await? {
    ///         println!("encoder {slot}: {} (pid {})", holder.application_name, holder.pid);
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub async fn holders(&self) -> Result<Vec<(u32, LockEntry)>> {
        let shared = &self.shared;
        let looks = (0..shared.permits).map(|slot| shared.locks.inspect(shared.keys.permit(slot)));
        let mut holders = Vec::new();
        for (slot, entries) in (0..).zip(together(looks).await) {
            let granted = entries?.into_iter().filter(|entry| entry.granted);
            holders.extend(granted.map(|entry| (slot, entry)));
        }
        Ok(holders)
    }
}
