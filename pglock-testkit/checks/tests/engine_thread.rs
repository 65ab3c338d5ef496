//! The engine's own thread survives odd timeouts, wakers and runtimes.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use pglock_core::driver::{Driver, DriverError};
use pglock_core::{ErrorKind, Locks};
use pglock_testkit::conformance::soon;
use pglock_testkit::memory::{MemoryServer, MemorySession};
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep};

#[tokio::test]
async fn timeout_beyond_all_clocks_waits() {
    for seconds in [u64::MAX / 2, u64::MAX] {
        let server = MemoryServer::new();
        // While the manager connects, no other alarm is set.
        server.delay_answers(Duration::from_millis(50));
        let lock = server.locks().rwlock("key");
        let guard = lock.try_write_for(Duration::from_secs(seconds)).await.unwrap();
        guard.release().await.unwrap();
    }
}

#[tokio::test]
async fn close_ends_though_the_named_runtime_is_not_driven() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let locks = Locks::builder(MemoryServer::new().driver())
        .runtime(runtime.handle().clone())
        .server_lease(Duration::from_millis(1500))
        .guard_lease(Duration::from_secs(1))
        .heartbeat(Duration::from_millis(200))
        .build()
        .unwrap();
    let lock = locks.rwlock("key");
    let take = move || (runtime.block_on(lock.write()).unwrap(), runtime);
    let (guard, runtime) = tokio::task::spawn_blocking(take).await.unwrap();
    let begin = Instant::now();
    soon("close", locks.close()).await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert!(!guard.is_held());
    runtime.shutdown_background();
}

/// Panics when it is dropped, once it is armed.
struct Bomb(Arc<AtomicBool>);

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(!self.0.swap(false, Ordering::SeqCst), "a stranger's drop panics");
    }
}

#[tokio::test]
async fn waker_that_panics_as_it_is_replaced_leaves_no_lock_behind() {
    let locks = MemoryServer::new().locks();
    let guard = locks.rwlock("key").write().await.unwrap();
    let armed = Arc::new(AtomicBool::new(false));
    let lock = locks.rwlock("key");
    {
        let mut wait = pin!(lock.write());
        let bomb = Waker::from(Arc::new(Bomb(armed.clone())));
        assert!(wait.as_mut().poll(&mut Context::from_waker(&bomb)).is_pending());
        drop(bomb);
        armed.store(true, Ordering::SeqCst);
        assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    drop(guard);
    soon("the lock is free", lock.write()).await.unwrap().release().await.unwrap();
}

/// Counts the tasks that have the lock.
#[derive(Clone, Debug)]
struct Counted {
    server: MemoryServer,
    #[expect(dead_code, reason = "it is counted, not read")]
    count: Arc<()>,
}

impl Driver for Counted {
    type Session = MemorySession;

    async fn connect(&self) -> Result<MemorySession, DriverError> {
        self.server.driver().connect().await
    }
}

#[tokio::test]
async fn nothing_is_left_of_a_manager_whose_runtime_had_ended() {
    let count = Arc::new(());
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let driver = Counted { server: MemoryServer::new(), count: count.clone() };
    let builder = Locks::builder(driver).runtime(runtime.handle().clone());
    let locks = builder.build().unwrap();
    runtime.shutdown_background();
    let error = soon("no runtime serves it", locks.rwlock("key").write()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoRuntime);
    drop(locks);
    until_gone(&count).await;
}

#[tokio::test]
async fn nothing_is_left_of_a_manager_that_was_asked_for_nothing() {
    let count = Arc::new(());
    let locks = Locks::new(Counted { server: MemoryServer::new(), count: count.clone() });
    let lock = locks.rwlock("key");
    tokio::spawn(async move {
        // The task's budget is used up, so the acquire starts the manager but sends it no request.
        std::future::poll_fn(|cx| {
            while pin!(tokio::task::coop::consume_budget()).poll(cx).is_ready() {}
            assert!(pin!(lock.write()).poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    })
    .await
    .unwrap();
    drop(locks);
    until_gone(&count).await;
}

async fn until_gone(count: &Arc<()>) {
    let gone = async {
        while Arc::strong_count(count) > 1 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the manager ends", gone).await;
}
