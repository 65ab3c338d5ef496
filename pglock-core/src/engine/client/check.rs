//! Checks whether the server answers, and finds out what kept a caller from a lock.

use std::sync::Arc;
use std::time::Duration;

use super::Client;
use super::call::Call;
use super::commands::Check;
use crate::engine::machine::Obstacle;
use crate::error::Result;
use crate::key::LockKey;

/// How long a check may take: as long as connecting may.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

impl Client {
    /// What keeps a caller from the lock for which it has waited this long.
    pub(crate) fn obstacle(&self, key: LockKey, waited: Duration) -> Obstacle {
        self.shared.obstacle(key, waited)
    }

    /// Whether locks can be acquired now: makes a round trip to find out.
    pub(crate) async fn check(self: &Arc<Self>) -> Result<()> {
        self.ensure_manager()?;
        let check = self.within(CHECK_TIMEOUT, Call::new(self, Check)).await;
        check.unwrap_or_else(|| Err(self.shared.silence()))
    }
}
