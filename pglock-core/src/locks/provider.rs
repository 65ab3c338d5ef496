//! What code that takes any backend gets from a lock manager.

use std::time::Duration;

use async_trait::async_trait;

use super::Locks;
use crate::error::Result;
use crate::guard::{AnyGuard, WriteGuard};
use crate::key::{LockKey, NamedKey};
use crate::looking::LockEntry;
use crate::mode::Mode;
use crate::provider::LockProvider;
use crate::rwlock::{DistributedRwLock, RwLock, take_prefix, try_any};

impl Locks {
    /// The lock on a key that is that of a tool, on purpose: no warning.
    pub(crate) fn rwlock_of_tool(&self, key: LockKey) -> RwLock {
        RwLock::of_tool(self.client.clone(), key.into())
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl LockProvider for Locks {
    fn rwlock(&self, key: NamedKey) -> Box<dyn DistributedRwLock> {
        Box::new(self.rwlock(key))
    }

    async fn inspect(&self, key: NamedKey) -> Result<Vec<LockEntry>> {
        self.inspect(key).await
    }

    async fn sleep(&self, time: Duration) {
        self.pause(time).await;
    }

    async fn take_in_order(
        &self,
        wanted: &[(NamedKey, Mode)],
        timeout: Duration,
    ) -> Result<Vec<AnyGuard>> {
        take_prefix(&self.client, wanted, timeout).await
    }

    async fn try_write_any(&self, keys: &[NamedKey]) -> Result<Option<WriteGuard>> {
        try_any(&self.client, keys).await
    }
}
