//! A backend that is not PostgreSQL and does not use the engine: locks of one process, behind the
//! same traits and with the same guards. The recipes run on it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use pglock_core::driver::{ErrorBuilder, Hold, Holding, LeaseState, lock_entry};
use pglock_core::recipes::election::Election;
use pglock_core::recipes::schedule::{Job, MemorySlots, Turn};
use pglock_core::recipes::semaphore::Semaphore;
use pglock_core::{
    DistributedRwLock, Error, ErrorKind, FencingToken, Lease, LockEntry, LockKey, LockProvider,
    LockSet, Mode, NamedKey, ReadGuard, Result, WriteGuard,
};
use tokio::sync::{RwLock, watch};
use tokio::time::{sleep, timeout};

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

/// Only what a provider must implement: the rest has a default.
#[derive(Debug, Default)]
struct LocalLocks(Mutex<HashMap<LockKey, Arc<RwLock<()>>>>);

impl LocalLocks {
    fn local(&self, key: LockKey) -> Arc<RwLock<()>> {
        self.0.lock().unwrap().entry(key).or_default().clone()
    }
}

#[async_trait]
impl LockProvider for LocalLocks {
    fn rwlock(&self, key: NamedKey) -> Box<dyn DistributedRwLock> {
        Box::new(LocalLock { key: key.key(), lock: self.local(key.key()) })
    }

    async fn inspect(&self, key: NamedKey) -> Result<Vec<LockEntry>> {
        let (key, lock) = (key.key(), self.local(key.key()));
        let mode = match (lock.try_write(), lock.try_read()) {
            (Ok(_), _) => return Ok(Vec::new()),
            (_, Ok(_)) => Mode::Read,
            _ => Mode::Write,
        };
        Ok(vec![lock_entry(Holding { key, mode }, true, 1)])
    }

    async fn sleep(&self, time: Duration) {
        sleep(time).await;
    }
}

fn provider() -> Arc<dyn LockProvider> {
    Arc::new(LocalLocks::default())
}

#[tokio::test]
async fn election_runs_on_another_backend() {
    let locks = provider();
    let [a, b] =
        [(); 2].map(|()| Election::new(locks.clone(), "leader").take_over_after(Duration::ZERO));
    let leadership = a.campaign().await.unwrap();
    assert!(a.role().is_leading() && !b.role().is_leading());
    assert!(b.leader().await.unwrap().is_some());
    let next = tokio::spawn(async move { b.campaign().await.unwrap().resign().await });
    assert!(leadership.is_held() && !next.is_finished());
    leadership.resign().await.unwrap();
    next.await.unwrap().unwrap();
    assert!(a.leader().await.unwrap().is_none());
}

#[tokio::test]
async fn job_runs_on_another_backend() {
    let hour = Duration::from_secs(3600);
    let hours = Arc::new(AtomicU32::new(1));
    let clock = hours.clone();
    let store = MemorySlots::new().with_clock(move || UNIX_EPOCH + hour * clock.load(Relaxed));
    let job = Job::builder(provider(), "job", Arc::new(store)).every(hour).at_least_once().unwrap();
    let mut runs = Vec::new();
    for hour in [1, 2, 2, 3] {
        hours.store(hour, Relaxed);
        let work = async |turn: Turn| {
            runs.push((hour, turn.slot().time()));
            Ok::<_, Infallible>(())
        };
        job.run_due(work).await.unwrap();
    }
    // No slot is due when the schedule begins.
    assert_eq!(runs, [2, 3].map(|n| (n, UNIX_EPOCH + hour * n)));
}

#[tokio::test]
async fn permits_are_taken_on_another_backend() {
    let locks = provider();
    let [a, b] = [(); 2].map(|()| Semaphore::new(locks.clone(), "pool", 2).unwrap());
    let (one, two) = (a.acquire().await.unwrap(), b.acquire().await.unwrap());
    assert!(a.try_acquire().await.unwrap().is_none());
    assert_eq!(b.available().await.unwrap(), 0);
    let next = tokio::spawn(async move { a.acquire().await.unwrap() });
    drop(one);
    drop((next.await.unwrap(), two));
    assert_eq!(b.available().await.unwrap(), 2);
}

#[tokio::test]
async fn set_is_taken_on_another_backend() {
    let locks = provider();
    let set = || LockSet::new(locks.clone()).write("b").read("a");
    let guard = set().acquire().await.unwrap();
    assert!(set().try_acquire().await.unwrap().is_none());
    assert!(locks.rwlock("a".into()).try_read().await.unwrap().is_some());
    guard.release().await.unwrap();
    drop(set().try_acquire().await.unwrap().expect("it is free"));
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
