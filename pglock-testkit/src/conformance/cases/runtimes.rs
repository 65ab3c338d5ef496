//! Callers on runtimes that end, that are blocked, that lack timers, and without any runtime.

use std::future::pending;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use pglock_core::blocking::Wait;
use pglock_core::{Error, ErrorKind, Mode};
use tokio::runtime::{Builder, Runtime};
use tokio::task::spawn_blocking;

use crate::conformance::{Lab, Manager, Options, group, soon, start};

group! { runtimes:
    locks_are_awaited_without_a_runtime,
    locks_are_awaited_on_a_runtime_without_timers_and_io,
    timeout_works_outside_a_runtime_while_the_manager_runs,
    locks_outlive_the_runtime_that_took_them,
    waiters_continue_when_the_first_runtime_ends,
    many_short_runtimes_share_a_manager,
    computing_for_longer_than_a_lease_loses_nothing,
    guard_dropped_before_a_computation_is_released_at_once,
    guards_notice_in_time_that_a_named_runtime_is_blocked: Engine,
    manager_ends_with_the_runtime_that_it_names: Engine,
    named_runtime_without_timers_is_an_error: Engine,
}

/// Short, so that a computation can take longer.
const GUARD_LEASE: Duration = Duration::from_secs(1);
const SERVER_LEASE: Duration = Duration::from_millis(1500);

fn leased() -> Options {
    Options {
        server_lease: Some(SERVER_LEASE),
        guard_lease: Some(GUARD_LEASE),
        ..Options::default()
    }
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs a future on a thread outside any runtime.
pub(super) fn without_runtime<F: Future>(future: F) -> F::Output {
    async { Ok::<_, Error>(future.await) }.wait().unwrap()
}

/// Runs something that blocks, while the case's own runtime continues.
pub(super) async fn aside<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    soon("the other thread", spawn_blocking(act)).await.unwrap()
}

/// Everything that a caller can do, with a free lock and with one that the witness holds.
async fn everything(manager: Arc<dyn Manager>) {
    let (free, busy) = (manager.lock("free"), manager.lock("busy"));
    let guard = free.write().await.unwrap();
    assert!(free.try_read().await.unwrap().is_none());
    assert_eq!(guard.protect(async { 7 }).await.unwrap(), 7);
    guard.release().await.unwrap();
    drop(free.try_read_for(Duration::from_secs(5)).await.unwrap());
    let begin = Instant::now();
    let error = busy.try_write_for(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(begin.elapsed() >= Duration::from_millis(50));
    assert!(!manager.inspect("busy".into()).await.unwrap().is_empty());
    manager.check().await.unwrap();
    manager.close().await.unwrap();
    assert_eq!(free.write().await.unwrap_err().kind(), ErrorKind::Closed);
}

pub async fn locks_are_awaited_without_a_runtime(lab: &Lab) {
    lab.witness().hold("busy".into(), Mode::Write).await.unwrap();
    let manager = lab.manager();
    let handle = thread::spawn(move || without_runtime(everything(manager)));
    aside(move || handle.join().unwrap()).await;
    lab.witness().release("busy".into(), Mode::Write).await.unwrap();
}

pub async fn locks_are_awaited_on_a_runtime_without_timers_and_io(lab: &Lab) {
    lab.witness().hold("busy".into(), Mode::Write).await.unwrap();
    let manager = lab.manager();
    aside(move || {
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(everything(manager));
    })
    .await;
    lab.witness().release("busy".into(), Mode::Write).await.unwrap();
}

pub async fn timeout_works_outside_a_runtime_while_the_manager_runs(lab: &Lab) {
    let manager = lab.manager();
    let guard = manager.lock("key").write().await.unwrap();
    let lock = manager.lock("key");
    let wait = move || without_runtime(lock.try_write_for(Duration::from_millis(20)));
    let error = aside(wait).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    guard.release().await.unwrap();
}

pub async fn locks_outlive_the_runtime_that_took_them(lab: &Lab) {
    let lock = lab.lock("key");
    let waiting = lock.clone();
    let guard = aside(move || {
        let runtime = one_thread();
        let guard = runtime.block_on(async {
            let guard = lock.write().await.unwrap();
            // Ends with the runtime, and leaves the queue.
            tokio::spawn(async move { lock.write().await });
            tokio::task::yield_now().await;
            guard
        });
        drop(runtime);
        guard
    })
    .await;
    assert!(guard.is_held());
    assert!(waiting.try_write().await.unwrap().is_none());
    guard.release().await.unwrap();
    soon("the waiter of the ended runtime has left", waiting.write())
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
}

/// The runtime of a manager's first user ends while that user connects, waits, holds or releases.
pub async fn waiters_continue_when_the_first_runtime_ends(lab: &Lab) {
    for end in ["connecting", "waiting", "holding", "releasing"] {
        let manager = lab.manager();
        let (first, second) = (manager.lock("key"), manager.lock("key"));
        if end == "waiting" {
            lab.witness().hold("key".into(), Mode::Write).await.unwrap();
        }
        let kept = aside(move || {
            let runtime = one_thread();
            let kept = runtime.block_on(async {
                match end {
                    "connecting" | "waiting" => {
                        let wait = tokio::spawn(async move { first.write().await.map(drop) });
                        tokio::task::yield_now().await;
                        drop(wait);
                        None
                    }
                    "holding" => Some(first.write().await.unwrap()),
                    _ => {
                        let release = first.write().await.unwrap().release();
                        let release = tokio::spawn(release);
                        tokio::task::yield_now().await;
                        drop(release);
                        None
                    }
                }
            });
            drop(runtime);
            kept
        })
        .await;
        let wait = start(async move { second.write().await });
        if end == "waiting" {
            lab.witness().until_waiting("key".into(), 1).await.unwrap();
            lab.witness().release("key".into(), Mode::Write).await.unwrap();
        }
        if let Some(guard) = kept {
            lab.until_queued(&manager, 1).await;
            guard.release().await.unwrap();
        }
        soon(end, wait).await.unwrap().unwrap().release().await.unwrap();
    }
}

/// As when the tests of an application share a static manager.
pub async fn many_short_runtimes_share_a_manager(lab: &Lab) {
    let manager = lab.manager();
    for _ in 0..20 {
        let threads: Vec<_> = (0..120)
            .map(|number| {
                let lock = manager.lock(number);
                thread::spawn(move || {
                    one_thread().block_on(async {
                        let guard = lock.write().await?;
                        guard.protect(tokio::task::yield_now()).await?;
                        guard.release().await
                    })
                })
            })
            .collect();
        let join = || threads.into_iter().map(|thread| thread.join().unwrap());
        let failed: Vec<_> =
            tokio::task::block_in_place(|| join().filter_map(Result::err).collect());
        assert!(failed.is_empty(), "{} of 120: {failed:?}", failed.len());
    }
    assert_eq!(manager.stats().losses, 0);
}

pub async fn computing_for_longer_than_a_lease_loses_nothing(lab: &Lab) {
    let lock = lab.manager_with(&leased()).lock("key");
    aside(move || {
        one_thread().block_on(async {
            let guard = lock.write().await.unwrap();
            thread::sleep(SERVER_LEASE * 2);
            assert!(guard.is_held());
            guard.release().await.unwrap();
        });
    })
    .await;
}

pub async fn guard_dropped_before_a_computation_is_released_at_once(lab: &Lab) {
    let lock = lab.lock("key");
    let (end, ended) = mpsc::channel::<()>();
    let work = spawn_blocking(move || {
        one_thread().block_on(async {
            drop(lock.write().await.unwrap());
            // It computes.
            ended.recv().unwrap_err();
        });
    });
    lab.witness().until_free("key".into()).await.unwrap();
    let lock = lab.lock("key");
    soon("the lock is free", lock.write()).await.unwrap().release().await.unwrap();
    drop(end);
    soon("the work", work).await.unwrap();
}

/// The manager's runtime is blocked; another runtime uses its guards.
pub async fn guards_notice_in_time_that_a_named_runtime_is_blocked(lab: &Lab) {
    let (end, ended) = mpsc::channel::<()>();
    let (give, given) = tokio::sync::oneshot::channel();
    let lab_of_thread = lab.clone();
    let runtime = spawn_blocking(move || {
        let runtime = one_thread();
        let options = Options { runtime: Some(runtime.handle().clone()), ..leased() };
        let lock = lab_of_thread.manager_with(&options).lock("key");
        runtime.block_on(async {
            assert!(give.send(lock.write().await.unwrap()).is_ok());
            ended.recv().unwrap_err();
        });
    });
    let guard = soon("the guard", given).await.unwrap();
    let begin = Instant::now();
    let error = soon("it ends", guard.protect(pending::<()>())).await.unwrap_err();
    assert!(begin.elapsed() < SERVER_LEASE, "{:?}", begin.elapsed());
    assert!(!guard.is_held());
    assert_eq!(error.kind(), ErrorKind::Lost);
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("did not run its lock engine"), "{cause}");
    drop((guard, end));
    soon("the runtime", runtime).await.unwrap();
}

pub async fn manager_ends_with_the_runtime_that_it_names(lab: &Lab) {
    let runtime = one_thread();
    let options = Options { runtime: Some(runtime.handle().clone()), ..Options::default() };
    let lock = lab.manager_with(&options).lock("key");
    let waiting = lock.clone();
    let (guard, runtime) = aside(move || {
        let guard = runtime.block_on(lock.write()).unwrap();
        (guard, runtime)
    })
    .await;
    let wait = start({
        let lock = waiting.clone();
        async move { lock.write().await.map(drop) }
    });
    aside(move || drop(runtime)).await;
    soon("the loss", guard.lost()).await;
    let error = soon("the wait ends", wait).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoRuntime);
    let error = soon("no runtime would serve it", waiting.try_write()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoRuntime);
}

pub async fn named_runtime_without_timers_is_an_error(lab: &Lab) {
    let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let options = Options { runtime: Some(runtime.handle().clone()), ..Options::default() };
    let lock = lab.manager_with(&options).lock("key");
    let error = soon("it is refused", lock.write()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NoRuntime | ErrorKind::Driver), "{error:?}");
    aside(move || drop(runtime)).await;
}
