//! Threads that wait for locks without `await`, and tasks that may not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use pglock_core::blocking::Wait;
use pglock_core::{DistributedRwLock, Error, ErrorKind, Mode, WriteGuard};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{LocalSet, block_in_place, coop, spawn_blocking};

use super::runtimes::aside;
use crate::conformance::{Lab, Options, group, soon, start};

group! { threads:
    threads_take_turns,
    threads_and_tasks_wait_in_one_queue,
    timeout_ends_the_wait_of_a_thread,
    close_ends_the_wait_of_a_thread,
    wait_of_a_thread_ends_with_the_named_runtime: Engine,
    runtime_has_threads_that_may_wait,
    named_runtime_has_threads_that_may_wait: Engine,
    wait_in_a_task_is_refused,
    deadlock_of_threads_is_found: Engine,
}

/// Starts a thread outside all runtimes. The future joins it.
pub(super) fn on_a_thread<T: Send + 'static>(
    act: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = T> {
    let thread = thread::spawn(act);
    aside(move || thread.join().unwrap())
}

/// Waits for the write lock on a thread, whose result the future returns.
pub(super) fn write(
    lock: &Arc<dyn DistributedRwLock>,
) -> impl Future<Output = Result<WriteGuard, Error>> + use<> {
    let lock = lock.clone();
    on_a_thread(move || lock.write().wait())
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn one_worker() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

pub async fn threads_take_turns(lab: &Lab) {
    lab.witness().hold("key".into(), Mode::Write).await.unwrap();
    let busy = Arc::new(AtomicBool::new(false));
    let threads = [(); 3].map(|()| {
        let (lock, busy) = (lab.lock("key"), busy.clone());
        on_a_thread(move || {
            let guard = lock.write().wait().unwrap();
            assert!(!busy.swap(true, Ordering::SeqCst), "one at a time");
            assert!(guard.is_held());
            thread::yield_now();
            busy.store(false, Ordering::SeqCst);
            guard.release().wait().unwrap();
        })
    });
    lab.witness().until_waiting("key".into(), 3).await.unwrap();
    lab.witness().release("key".into(), Mode::Write).await.unwrap();
    for thread in threads {
        thread.await;
    }
    lab.witness().until_free("key".into()).await.unwrap();
}

pub async fn threads_and_tasks_wait_in_one_queue(lab: &Lab) {
    let manager = lab.manager();
    let lock = manager.lock("key");
    let guard = lock.write().await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let turn = |number: usize| {
        let (lock, order) = (lock.clone(), order.clone());
        async move {
            let guard = lock.write().await?;
            order.lock().unwrap().push(number);
            guard.release().await
        }
    };
    let (first, third) = (turn(1), turn(3));
    let first = on_a_thread(move || first.wait());
    lab.until_queued(&manager, 1).await;
    let second = start(turn(2));
    lab.until_queued(&manager, 2).await;
    let third = on_a_thread(move || third.wait());
    lab.until_queued(&manager, 3).await;
    on_a_thread(move || guard.release().wait()).await.unwrap();
    first.await.unwrap();
    soon("the task", second).await.unwrap().unwrap();
    third.await.unwrap();
    assert_eq!(*order.lock().unwrap(), [1, 2, 3]);
}

pub async fn timeout_ends_the_wait_of_a_thread(lab: &Lab) {
    lab.witness().hold("key".into(), Mode::Write).await.unwrap();
    let lock = lab.lock("key");
    on_a_thread(move || {
        assert!(lock.try_write().wait().unwrap().is_none());
        assert!(lock.try_read().wait().unwrap().is_none());
        for timeout in [Duration::ZERO, Duration::from_millis(20)] {
            for error in [
                lock.try_write_for(timeout).wait().unwrap_err(),
                lock.try_read_for(timeout).wait().unwrap_err(),
            ] {
                assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
            }
        }
    })
    .await;
    lab.witness().release("key".into(), Mode::Write).await.unwrap();
}

pub async fn close_ends_the_wait_of_a_thread(lab: &Lab) {
    lab.witness().hold("key".into(), Mode::Write).await.unwrap();
    let manager = lab.manager();
    let wait = write(&manager.lock("key"));
    lab.witness().until_waiting("key".into(), 1).await.unwrap();
    on_a_thread(move || manager.close().wait()).await.unwrap();
    assert_eq!(wait.await.unwrap_err().kind(), ErrorKind::Closed);
    lab.witness().release("key".into(), Mode::Write).await.unwrap();
    lab.witness().until_free("key".into()).await.unwrap();
}

pub async fn wait_of_a_thread_ends_with_the_named_runtime(lab: &Lab) {
    let runtime = one_worker();
    let options = Options { runtime: Some(runtime.handle().clone()), ..Options::default() };
    lab.witness().hold("key".into(), Mode::Write).await.unwrap();
    let lock = lab.manager_with(&options).lock("key");
    let wait = write(&lock);
    lab.witness().until_waiting("key".into(), 1).await.unwrap();
    aside(move || drop(runtime)).await;
    assert_eq!(wait.await.unwrap_err().kind(), ErrorKind::NoRuntime);
    assert_eq!(write(&lock).await.unwrap_err().kind(), ErrorKind::NoRuntime);
    lab.witness().release("key".into(), Mode::Write).await.unwrap();
}

pub async fn runtime_has_threads_that_may_wait(lab: &Lab) {
    lab.witness().hold("key".into(), Mode::Write).await.unwrap();
    let (aside, in_place) = (lab.lock("key"), lab.lock("key"));
    let turn = |lock: Arc<dyn DistributedRwLock>| lock.write().wait()?.release().wait();
    let waits = [
        spawn_blocking(move || turn(aside)),
        start(async move { block_in_place(|| turn(in_place)) }),
    ];
    lab.witness().until_waiting("key".into(), 2).await.unwrap();
    lab.witness().release("key".into(), Mode::Write).await.unwrap();
    for wait in waits {
        soon("its turn", wait).await.unwrap().unwrap();
    }
}

/// Another thread drives the runtime, whose only worker is free.
pub async fn named_runtime_has_threads_that_may_wait(lab: &Lab) {
    for runtime in [one_worker(), one_thread()] {
        let handle = runtime.handle().clone();
        let options = Options { runtime: Some(handle.clone()), ..Options::default() };
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let driven = on_a_thread(move || runtime.block_on(ended).unwrap_err());
        lab.witness().hold("key".into(), Mode::Write).await.unwrap();
        let manager = lab.manager_with(&options);
        let lock = manager.lock("key");
        let wait = handle.spawn_blocking(move || lock.write().wait()?.release().wait());
        lab.witness().until_waiting("key".into(), 1).await.unwrap();
        lab.witness().release("key".into(), Mode::Write).await.unwrap();
        soon("its turn", wait).await.unwrap().unwrap();
        manager.close().await.unwrap();
        drop(end);
        driven.await;
    }
}

/// Whether the lock is free or held by a task of the same thread.
async fn refused(lock: Arc<dyn DistributedRwLock>) {
    let assert_refused = |error: Error| {
        assert_eq!(error.kind(), ErrorKind::BlockingInTask, "{error:?}");
        assert!(error.to_string().contains("spawn_blocking"), "{error}");
        assert!(coop::has_budget_remaining(), "it takes nothing from the task");
    };
    assert_refused(lock.write().wait().unwrap_err());
    assert_refused(lock.try_write().wait().unwrap_err());
    let guard = lock.write().await.unwrap();
    assert_refused(lock.read().wait().unwrap_err());
    assert_refused(guard.release().wait().unwrap_err());
    // It was released all the same.
    lock.write().await.unwrap().release().await.unwrap();
}

pub async fn wait_in_a_task_is_refused(lab: &Lab) {
    let lock = lab.lock("key");
    refused(lock.clone()).await;
    soon("the task", start(refused(lock.clone()))).await.unwrap();
    aside(move || {
        for runtime in [one_thread(), one_worker()] {
            runtime.block_on(refused(lock.clone()));
            runtime.block_on(runtime.spawn(refused(lock.clone()))).unwrap();
            let local = LocalSet::new();
            let task = local.spawn_local(refused(lock.clone()));
            runtime.block_on(local.run_until(task)).unwrap();
        }
    })
    .await;
    lab.witness().until_free("key".into()).await.unwrap();
}

pub async fn deadlock_of_threads_is_found(lab: &Lab) {
    let begin = Arc::new(Barrier::new(2));
    let takes = |keys: [&str; 2], gives_up: bool| {
        let (manager, begin) = (lab.manager(), begin.clone());
        let [first, second] = keys.map(|key| manager.engine_lock(key.into()));
        let second = if gives_up { second.fail_on_deadlock() } else { second };
        on_a_thread(move || {
            let first = first.write().wait()?;
            begin.wait();
            second.write().wait()?.release().wait()?;
            first.release().wait()
        })
    };
    let (stays, fails) = (takes(["a", "b"], false), takes(["b", "a"], true));
    assert_eq!(fails.await.unwrap_err().kind(), ErrorKind::Deadlock);
    stays.await.unwrap();
}
