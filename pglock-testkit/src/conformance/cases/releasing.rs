//! Giving a lock back, on every way out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use pglock_core::Mode;
use tokio::runtime;

use super::listening::Listener;
use crate::conformance::{Lab, soon, start};

pub async fn dropped_guard_frees_the_lock(lab: &Lab) {
    let lock = lab.lock("key");
    drop(lock.write().await.unwrap());
    lab.witness().until_free("key".into()).await.unwrap();
    drop(lock.read().await.unwrap());
    lab.witness().until_free("key".into()).await.unwrap();
}

pub async fn released_lock_is_free_when_release_returns(lab: &Lab) {
    let lock = lab.lock("key");
    for _ in 0..50 {
        lock.write().await.unwrap().release().await.unwrap();
        assert!(lab.witness().holders("key".into()).await.unwrap().is_empty());
        lock.read().await.unwrap().release().await.unwrap();
        assert!(lab.witness().holders("key".into()).await.unwrap().is_empty());
    }
}

pub async fn release_may_be_dropped(lab: &Lab) {
    let lock = lab.lock("key");
    // Before it is polled, and after.
    drop(lock.write().await.unwrap().release());
    lab.witness().until_free("key".into()).await.unwrap();
    let guard = lock.write().await.unwrap();
    let _ = tokio::time::timeout(Duration::ZERO, guard.release()).await;
    lab.witness().until_free("key".into()).await.unwrap();
}

pub async fn guard_may_be_dropped_in_a_panic(lab: &Lab) {
    let guard = lab.lock("key").write().await.unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(move || {
        let _guard = guard;
        // Not `panic!`, which would print a message that looks like a failure.
        std::panic::resume_unwind(Box::new("out"));
    }));
    assert!(panicked.is_err());
    lab.witness().until_free("key".into()).await.unwrap();
}

pub async fn guard_may_be_dropped_outside_a_runtime(lab: &Lab) {
    let manager = lab.manager();
    let lock = manager.lock("key");
    let guard = lock.write().await.unwrap();
    // The next one is served from there.
    let wait = start(async move { lock.write().await });
    lab.until_queued(&manager, 1).await;
    thread::spawn(move || drop(guard)).join().unwrap();
    let guard = soon("the lock is free", wait).await.unwrap().unwrap();
    thread::spawn(move || drop(guard)).join().unwrap();
    lab.witness().until_free("key".into()).await.unwrap();
}

pub async fn guard_may_outlive_its_lock_and_manager(lab: &Lab) {
    let manager = lab.manager();
    let lock = manager.lock("key");
    let guard = lock.write().await.unwrap();
    drop((lock, manager));
    assert!(guard.is_held());
    assert!(lab.lock("key").try_write().await.unwrap().is_none());
    guard.release().await.unwrap();
    assert!(lab.lock("key").try_write().await.unwrap().is_some());
}

/// In a process of its own, because the listener hears all of it.
pub async fn program_that_drops_its_guard_and_ends_warns_of_no_loss(lab: &Lab) {
    if !lab.is_child() {
        drop(lab.start_process());
        return;
    }
    let listener = Listener::start();
    tracing::subscriber::set_global_default(listener.clone()).unwrap();
    for _ in 0..20 {
        let manager = lab.manager();
        let program = thread::spawn(move || {
            let runtime = runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                drop(manager.lock("key").write().await.unwrap());
            });
        });
        program.join().unwrap();
    }
    let warnings = listener.warnings();
    let lost = warnings.iter().filter(|text| text.contains("locks lost"));
    assert_eq!(lost.count(), 0, "{warnings:#?}");
    lab.ready().await;
}

pub async fn current_thread_runtime_is_enough(lab: &Lab) {
    let (a, b) = (lab.lock("key"), lab.lock("key"));
    thread::spawn(move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let guard = a.write().await.unwrap();
            let wait = start(async move { b.write().await });
            guard.release().await.unwrap();
            drop(soon("the lock is free", wait).await.unwrap().unwrap());
            // The drop has only told the session's task, which must get its turn.
            soon("the lock is free", a.write()).await.unwrap().release().await.unwrap();
        });
    })
    .join()
    .unwrap();
}

pub async fn releases_need_no_other_connection(lab: &Lab) {
    let witness = lab.witness();
    let manager = lab.manager();
    witness.hold("busy".into(), Mode::Write).await.unwrap();
    let mut waits = Vec::new();
    for _ in 0..8 {
        let lock = manager.lock("busy");
        waits.push(start(async move { lock.write().await.map(drop) }));
    }
    witness.until_waiting("busy".into(), 1).await.unwrap();
    let sessions = manager.stats().sessions;
    for _ in 0..1000 {
        let guard = manager.lock("key").write().await.unwrap();
        soon("release waits for something", guard.release()).await.unwrap();
    }
    assert_eq!(manager.stats().sessions, sessions);
    witness.release("busy".into(), Mode::Write).await.unwrap();
    for wait in waits {
        soon("the lock is free", wait).await.unwrap().unwrap();
    }
}
