//! Checks whether the server answers, and finds out what kept a caller from a lock.

use std::convert::identity;
use std::sync::Arc;
use std::time::Duration;

use super::Client;
use super::call::Call;
use super::commands::Check;
use crate::engine::machine::Obstacle;
use crate::error::{Error, Result};
use crate::key::LockKey;
use crate::looking::LockEntry;

/// How long the server may take to name the holders of a lock after the timeout.
const LOOK_TIMEOUT: Duration = Duration::from_millis(25);

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

    /// The error for a caller whose time has run out, with the holders of this key. `gate`: what the
    /// caller awaits instead, if it does.
    pub(crate) async fn timed_out(
        self: &Arc<Self>,
        key: LockKey,
        gate: Option<LockKey>,
        obstacle: Obstacle,
    ) -> Error {
        let (key, timeout): (_, fn(_) -> _) = match gate {
            Some(gate) => (gate, Error::timeout_at_gate),
            None => (key, Error::timeout),
        };
        let error = match obstacle {
            Obstacle::NotConnected(error) => error,
            Obstacle::Busy => timeout(self.holders(key).await.unwrap_or_default()),
            Obstacle::Silence => self.holders(key).await.map_or_else(identity, timeout),
        };
        self.meters.count_failure(&error);
        error
    }

    /// Who holds the key, if the server can tell at once.
    async fn holders(self: &Arc<Self>, key: LockKey) -> Result<Vec<LockEntry>> {
        let look = self.within(LOOK_TIMEOUT, self.look(Some(key))).await;
        let mut locks = look.unwrap_or_else(|| Err(Error::unanswered()))?;
        locks.retain(|lock| lock.granted);
        Ok(locks)
    }

    /// Checks whether locks can be acquired now, by a round trip.
    pub(crate) async fn check(self: &Arc<Self>) -> Result<()> {
        self.check_within(CHECK_TIMEOUT).await
    }

    async fn check_within(self: &Arc<Self>, timeout: Duration) -> Result<()> {
        self.ensure_manager()?;
        let check = self.within(timeout, Call::new(self, Check)).await;
        check.unwrap_or_else(|| Err(self.shared.silence()))
    }
}
