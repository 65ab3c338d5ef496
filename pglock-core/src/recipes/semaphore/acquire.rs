//! Takes permits for a caller, with or without waiting.

use super::keys::check;
use super::taking::Scan;
use super::{Permit, Semaphore};
use crate::{ErrorKind, Result};

impl Semaphore {
    pub(super) async fn try_once(&self, count: u32) -> Result<Option<Permit>> {
        let shared = &self.shared;
        check(count, shared.permits, "of this semaphore, a caller can have")?;
        let Some(mut first) = shared.line.join_unless_waiting().await else {
            return Ok(None);
        };
        let taken = shared.try_take(count, Scan::Sure, &mut first).await?;
        Ok(taken.map(|taken| Permit::new(taken, shared.clone())))
    }

    pub(super) async fn wait(&self, count: u32) -> Result<Permit> {
        let shared = &self.shared;
        check(count, shared.permits, "of this semaphore, a caller can have")?;
        let mut first = shared.line.join().await;
        let refused = match shared.try_take(count, Scan::Shared, &mut first).await {
            Ok(Some(taken)) => return Ok(Permit::new(taken, shared.clone())),
            Ok(None) => true,
            // Waiting includes waiting for a connection.
            Err(error) if error.kind() == ErrorKind::Connection => false,
            Err(error) => return Err(error),
        };
        shared.line.note_refused(refused);
        let taken = shared.take(count, &mut first).await?;
        Ok(Permit::new(taken, shared.clone()))
    }

    /// Measures a call of the application. `has_permit`: whether its result contains a permit.
    #[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "nothing is measured"))]
    pub(super) async fn measured<T>(
        &self,
        acquire: impl Future<Output = Result<T>>,
        has_permit: impl FnOnce(&T) -> bool,
    ) -> Result<T> {
        #[cfg(feature = "metrics")]
        let wait = self.shared.meters.start_wait();
        let acquired = acquire.await;
        #[cfg(feature = "metrics")]
        wait.end(acquired.as_ref().map(has_permit));
        acquired
    }
}
