//! A backend that is not PostgreSQL: locks of one process, behind the same trait and with the same
//! guards.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pglock_core::driver::{ErrorBuilder, Hold, LeaseState};
use pglock_core::{
    DistributedRwLock, Error, ErrorKind, FencingToken, Lease, LockKey, ReadGuard, Result,
    WriteGuard,
};
use tokio::sync::{RwLock, watch};
use tokio::time::timeout;

#[derive(Debug)]
struct LocalLock {
    key: LockKey,
    lock: Arc<RwLock<()>>,
}

/// Released when dropped, and never lost.
#[derive(Debug)]
struct LocalHold<G> {
    lease: Lease,
    /// Dropped before the lock is free.
    _alive: watch::Sender<()>,
    _guard: G,
}

#[async_trait]
impl<G: fmt::Debug + Send + Sync + 'static> Hold for LocalHold<G> {
    fn lease(&self) -> &Lease {
        &self.lease
    }

    async fn fencing_token(&self) -> Result<FencingToken> {
        let why = "a lock of one process needs no fencing tokens";
        Err(ErrorBuilder::new(ErrorKind::InvalidOptions, why).key(self.lease.key()).build())
    }

    fn downgrade(&mut self) {}

    async fn try_upgrade(&mut self) -> Result<bool> {
        Ok(false)
    }

    async fn release(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct LocalLease {
    key: LockKey,
    alive: watch::Receiver<()>,
}

#[async_trait]
impl LeaseState for LocalLease {
    fn key(&self) -> LockKey {
        self.key
    }

    fn valid_for(&self) -> Duration {
        if self.alive.has_changed().is_ok() { Duration::MAX } else { Duration::ZERO }
    }

    async fn lost(&self) {
        // Nothing is ever sent: this waits for the end.
        let _ = self.alive.clone().changed().await;
    }

    fn on_loss(&self, _: Box<dyn FnOnce() + Send>) {}

    fn error(&self) -> Error {
        ErrorBuilder::new(ErrorKind::Lost, "the lock was released").key(self.key).build()
    }
}

impl LocalLock {
    fn hold<G>(&self, guard: G) -> LocalHold<G> {
        let (_alive, alive) = watch::channel(());
        let lease = Lease::new(LocalLease { key: self.key, alive });
        LocalHold { lease, _alive, _guard: guard }
    }

    fn timeout(&self) -> Error {
        ErrorBuilder::new(ErrorKind::Timeout, "not free in time").key(self.key).build()
    }
}

#[async_trait]
impl DistributedRwLock for LocalLock {
    fn key(&self) -> LockKey {
        self.key
    }

    async fn try_read(&self) -> Result<Option<ReadGuard>> {
        let guard = self.lock.clone().try_read_owned().ok();
        Ok(guard.map(|guard| ReadGuard::new(self.hold(guard))))
    }

    async fn read(&self) -> Result<ReadGuard> {
        Ok(ReadGuard::new(self.hold(self.lock.clone().read_owned().await)))
    }

    async fn try_read_for(&self, time: Duration) -> Result<ReadGuard> {
        timeout(time, self.read()).await.map_err(|_| self.timeout())?
    }

    async fn try_write(&self) -> Result<Option<WriteGuard>> {
        let guard = self.lock.clone().try_write_owned().ok();
        Ok(guard.map(|guard| WriteGuard::new(self.hold(guard))))
    }

    async fn write(&self) -> Result<WriteGuard> {
        Ok(WriteGuard::new(self.hold(self.lock.clone().write_owned().await)))
    }

    async fn try_write_for(&self, time: Duration) -> Result<WriteGuard> {
        timeout(time, self.write()).await.map_err(|_| self.timeout())?
    }
}

#[tokio::test]
async fn guards_can_be_built_by_other_backends() {
    let lock: Arc<dyn DistributedRwLock> =
        Arc::new(LocalLock { key: "local".into(), lock: Arc::default() });
    let guard = lock.try_write().await.unwrap().unwrap();
    assert!(guard.is_held());
    assert_eq!(guard.key(), lock.key());
    assert!(format!("{guard:?}").contains("LocalHold"));
    assert!(lock.try_read().await.unwrap().is_none());
    let error = lock.try_read_for(Duration::from_millis(1)).await.unwrap_err();
    assert_eq!((error.kind(), error.key()), (ErrorKind::Timeout, Some(lock.key())));
    let lease = guard.lease().clone();
    assert_eq!((lease.key(), lease.valid_for()), (lock.key(), Duration::MAX));
    assert_eq!(lease.protect(async { 7 }).await.unwrap(), 7);
    let error = guard.fencing_token().await.unwrap_err();
    assert_eq!((error.kind(), error.key()), (ErrorKind::InvalidOptions, Some(lock.key())));
    guard.release().await.unwrap();
    assert_eq!((lease.is_held(), lease.valid_for()), (false, Duration::ZERO));
    lease.lost().await;
    assert_eq!(lease.protect(async {}).await.unwrap_err().kind(), ErrorKind::Lost);
    let readers = (lock.read().await.unwrap(), lock.read().await.unwrap());
    assert!(lock.try_write().await.unwrap().is_none());
    drop(readers);
    let writer = lock.try_write().await.unwrap().unwrap();
    // It stays a write lock, as this backend cannot change it.
    let reader = writer.downgrade();
    assert!(lock.try_read().await.unwrap().is_none());
    let reader = reader.try_upgrade().await.unwrap().unwrap_err();
    assert!(reader.is_held());
}

#[test]
fn what_users_hold_may_cross_threads() {
    fn check<T: Send + Sync + 'static>() {}
    check::<ReadGuard>();
    check::<WriteGuard>();
    check::<Error>();
    check::<pglock_core::RwLock>();
    check::<Box<dyn DistributedRwLock>>();
}
