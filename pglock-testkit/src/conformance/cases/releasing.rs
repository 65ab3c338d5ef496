//! Releasing a lock in every way.

use std::future::{pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use pglock_core::{ErrorKind, Mode};
use tokio::runtime;

use super::listening::Listener;
use crate::conformance::{Lab, group, soon, start};

group! { releasing:
    dropped_guard_frees_the_lock,
    released_lock_is_free_when_release_returns,
    release_may_be_dropped,
    lease_ends_with_its_guard,
    lease_reports_a_loss_to_all_its_clones: Sessions,
    lease_outlives_its_guard_and_manager,
    guard_may_be_dropped_in_a_panic,
    guard_may_be_dropped_outside_a_runtime,
    guard_may_outlive_its_lock_and_manager,
    program_that_drops_its_guard_and_ends_warns_of_no_loss: Process,
    current_thread_runtime_is_enough,
    releases_need_no_other_connection,
}

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
    // Dropped before it is first polled, and after.
    drop(lock.write().await.unwrap().release());
    lab.witness().until_free("key".into()).await.unwrap();
    let guard = lock.write().await.unwrap();
    let _ = tokio::time::timeout(Duration::ZERO, guard.release()).await;
    lab.witness().until_free("key".into()).await.unwrap();
}

pub async fn lease_ends_with_its_guard(lab: &Lab) {
    for drops in [true, false] {
        let guard = lab.lock("key").write().await.unwrap();
        let lease = guard.lease().clone();
        assert_eq!(lease.key(), "key".into());
        assert!(lease.is_held() && guard.valid_for() > Duration::ZERO);
        assert_eq!(lease.protect(async { 7 }).await.unwrap(), 7);
        let called = Arc::new(AtomicBool::new(false));
        lease.on_loss({
            let called = called.clone();
            move || called.store(true, Ordering::Relaxed)
        });
        let ends = start({
            let lease = lease.clone();
            async move { lease.lost().await }
        });
        let work = start({
            let lease = lease.clone();
            async move { lease.protect(pending::<()>()).await }
        });
        match drops {
            true => drop(guard),
            false => guard.release().await.unwrap(),
        }
        assert_eq!((lease.is_held(), lease.valid_for()), (false, Duration::ZERO));
        soon("the wait ends", ends).await.unwrap();
        let error = soon("the work stops", work).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Lost, "{error:?}");
        assert!(error.to_string().contains("released"), "{error}");
        // A release is not a loss.
        assert!(!called.load(Ordering::Relaxed));
        lab.witness().until_free("key".into()).await.unwrap();
    }
}

pub async fn lease_reports_a_loss_to_all_its_clones(lab: &Lab) {
    let guard = lab.lock("key").write().await.unwrap();
    let leases = [guard.lease().clone(), guard.lease().clone()];
    let waits = leases.clone().map(|lease| start(async move { lease.lost().await }));
    lab.end_sessions().await;
    for wait in waits {
        soon("the loss is reported", wait).await.unwrap();
    }
    for lease in leases {
        assert_eq!((lease.is_held(), lease.valid_for()), (false, Duration::ZERO));
        let error = lease.protect(ready(())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Lost);
        // Also after the guard is gone: the loss came first.
        assert!(std::error::Error::source(&error).is_some(), "{error:?}");
    }
    assert_eq!(guard.release().await.unwrap_err().kind(), ErrorKind::Lost);
}

pub async fn lease_outlives_its_guard_and_manager(lab: &Lab) {
    let manager = lab.manager();
    let guard = manager.rwlock("key".into()).write().await.unwrap();
    let lease = guard.lease().clone();
    drop(manager);
    assert!(lease.is_held());
    drop(guard);
    lab.witness().until_free("key".into()).await.unwrap();
    assert!(!lease.is_held());
    // The lease does not follow the next holder's lock.
    let next = lab.lock("key").write().await.unwrap();
    assert!(next.is_held() && !lease.is_held());
}

pub async fn guard_may_be_dropped_in_a_panic(lab: &Lab) {
    let guard = lab.lock("key").write().await.unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(move || {
        let _guard = guard;
        // Not `panic!`, whose message would look like a failure.
        std::panic::resume_unwind(Box::new("out"));
    }));
    assert!(panicked.is_err());
    lab.witness().until_free("key".into()).await.unwrap();
}

pub async fn guard_may_be_dropped_outside_a_runtime(lab: &Lab) {
    let manager = lab.manager();
    let lock = manager.lock("key");
    let guard = lock.write().await.unwrap();
    // The next caller gets the lock from there.
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
            // The drop has only notified the session's task, which must get to run.
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
