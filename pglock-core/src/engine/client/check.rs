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

    /// Makes sure that the limit of locks is known, with a round trip if it is not.
    pub(crate) async fn learn_cap(self: &Arc<Self>, timeout: Duration) -> Result<()> {
        match self.shared.awaits_cap() {
            true => self.check_within(CHECK_TIMEOUT.min(timeout)).await,
            false => Ok(()),
        }
    }

    /// Whether locks can be acquired now: makes a round trip to find out.
    pub(crate) async fn check(self: &Arc<Self>) -> Result<()> {
        self.check_within(CHECK_TIMEOUT).await
    }

    async fn check_within(self: &Arc<Self>, timeout: Duration) -> Result<()> {
        self.ensure_manager()?;
        let check = self.within(timeout, Call::new(self, Check)).await;
        check.unwrap_or_else(|| Err(self.shared.silence()))
    }
}
