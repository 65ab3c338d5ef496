//! What callers want to know of the server: whether it answers, and what kept them from a lock.

use std::sync::Arc;
use std::time::Duration;

use super::Client;
use super::call::Call;
use super::commands::Check;
use crate::engine::machine::Obstacle;
use crate::error::Result;
use crate::key::LockKey;

/// How long a check may take: as long as connecting.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

impl Client {
    /// What has kept a caller from a lock that has waited for so long and waits still.
    pub(crate) fn obstacle(&self, key: LockKey, waited: Duration) -> Obstacle {
        self.shared.obstacle(key, waited)
    }

    /// Whether locks can be had now, by a question of its own.
    pub(crate) async fn check(self: &Arc<Self>) -> Result<()> {
        self.ensure_manager()?;
        let check = self.within(CHECK_TIMEOUT, Call::new(self, Check)).await;
        check.unwrap_or_else(|| Err(self.shared.silence()))
    }
}
