//! One of several locks, whichever is free.

use std::future::poll_fn;
use std::task::Poll;

use crate::error::{Error, Result};
use crate::guard::WriteGuard;
use crate::key::NamedKey;
use crate::locks::Locks;
use crate::owner::Scope;
use crate::provider::LockProvider;

impl Locks {
    /// Takes the write lock of the first of these keys that is free, in the order given. Returns
    /// `None` if all are busy. [`WriteGuard::key`] says which one it is.
    ///
    /// It makes one round trip, and takes no other lock.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future leaves nothing behind.
    ///
    /// # Errors
    ///
    /// [`InvalidOptions`](crate::ErrorKind::InvalidOptions) without keys; otherwise see
    /// [`ErrorKind`](crate::ErrorKind). A busy lock is no error.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(locks: pglock_core::Locks) -> pglock_core::Result<()> {
    /// if let Some(gpu) = locks.try_write_any(["gpu/0", "gpu/1"]).await? {
    ///     gpu.protect(async { /* … */ }).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn try_write_any<K: Into<NamedKey>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Option<WriteGuard>> {
        let keys: Vec<_> = keys.into_iter().map(Into::into).collect();
        try_write_any(self, &keys).await
    }

    /// Waits for the write lock of one of these keys, whichever becomes free first.
    /// [`WriteGuard::key`] says which one it is.
    ///
    /// If none is free, it waits in the queue of each, and leaves the others when it gets one. If
    /// two become free at once, it may be granted both: it keeps one, and releases the other in the
    /// background.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the places in the queues, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`](crate::ErrorKind); without keys,
    /// [`InvalidOptions`](crate::ErrorKind::InvalidOptions).
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(locks: pglock_core::Locks) -> pglock_core::Result<()> {
    /// let gpu = locks.write_any(["gpu/0", "gpu/1"]).await?;
    /// println!("working on {}", gpu.key());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write_any<K: Into<NamedKey>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<WriteGuard> {
        let keys: Vec<_> = keys.into_iter().map(Into::into).collect();
        let locks: &dyn LockProvider = self;
        locks.write_any(&keys).await
    }
}

impl dyn LockProvider + '_ {
    /// Waits for the write lock of one of these keys, whichever becomes free first.
    /// [`WriteGuard::key`] says which one it is.
    ///
    /// If none is free, it waits in the queue of each, and leaves the others when it gets one. If
    /// two become free at once, it may be granted both: it keeps one, and releases the other in the
    /// background.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the places in the queues, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`](crate::ErrorKind); without keys,
    /// [`InvalidOptions`](crate::ErrorKind::InvalidOptions).
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(locks: &dyn pglock_core::LockProvider) -> pglock_core::Result<()> {
    /// let gpu = locks.write_any(&["gpu/0".into(), "gpu/1".into()]).await?;
    /// println!("working on {}", gpu.key());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write_any(&self, keys: &[NamedKey]) -> Result<WriteGuard> {
        if let Some(guard) = try_write_any(self, keys).await? {
            return Ok(guard);
        }
        let locks: Vec<_> = keys.iter().map(|key| self.rwlock(key.clone())).collect();
        let mut waits: Vec<_> = locks.iter().map(|lock| lock.write()).collect();
        let scope = Scope::of_any();
        poll_fn(|cx| {
            let mut polled = waits.iter_mut().map(|wait| scope.poll(wait.as_mut(), cx));
            polled.find(Poll::is_ready).unwrap_or(Poll::Pending)
        })
        .await
    }
}

pub(crate) async fn try_write_any(
    locks: &(dyn LockProvider + '_),
    keys: &[NamedKey],
) -> Result<Option<WriteGuard>> {
    match keys {
        [] => Err(Error::no_keys()),
        keys => locks.try_write_any(keys).await,
    }
}
