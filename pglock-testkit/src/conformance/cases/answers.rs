//! What comes between the engine and the server: answers that are late, lost or another session's.

use std::sync::Arc;
use std::time::Duration;

use pglock_core::{DistributedRwLock, ErrorKind, LockKey, Mode};

use crate::conformance::{Lab, Manager, Options, group, soon, start};
use crate::faulty::{Fault, Faults, Point};

group! { answers:
    acquire_dropped_between_grant_and_answer_leaves_nothing: Engine,
    acquire_behind_a_dropped_one_gets_the_lock: Engine,
    wait_that_fails_though_it_was_granted_holds_nothing: Engine,
    try_that_fails_though_it_was_granted_takes_nothing_else_away: Engine,
    release_that_is_refused_is_made_up_for: Engine,
    release_of_a_lock_that_was_taken_away_says_so: Engine,
    statement_in_a_foreign_session_locks_nothing_and_fails: Engine,
    release_in_a_foreign_session_is_no_silent_success: Engine,
}

/// A manager whose faults are up to the case, with a session.
async fn faulty(lab: &Lab) -> (Arc<dyn Manager>, Faults) {
    let faults = Faults::new();
    let options = Options { faults: Some(faults.clone()), ..Options::default() };
    let manager = lab.manager_with(&options);
    manager.lock("other").write().await.unwrap().release().await.unwrap();
    (manager, faults)
}

/// Begins to wait, and drops that when the server has granted the lock but before the answer has
/// come.
async fn drop_when_granted(lab: &Lab, lock: &Arc<dyn DistributedRwLock>, wait: bool) {
    let waiter = lock.clone();
    let acquire = start(async move {
        if wait { waiter.write().await.map(Some) } else { waiter.try_write().await }
    });
    until_held(lab, "key".into()).await;
    acquire.abort();
    assert!(acquire.await.unwrap_err().is_cancelled(), "the answer came through");
}

pub async fn acquire_dropped_between_grant_and_answer_leaves_nothing(lab: &Lab) {
    let (manager, faults) = faulty(lab).await;
    let lock = manager.lock("key");
    for wait in [true, false] {
        faults.strike(Point::TryLock, Fault::Silence { done: true });
        drop_when_granted(lab, &lock, wait).await;
        faults.clear();
        lab.witness().until_free("key".into()).await.unwrap();
        soon("the lock is free", lock.write()).await.unwrap().release().await.unwrap();
    }
    assert_eq!((manager.stats().held, manager.stats().waiting), (0, 0));
}

pub async fn acquire_behind_a_dropped_one_gets_the_lock(lab: &Lab) {
    let (manager, faults) = faulty(lab).await;
    let lock = manager.lock("key");
    faults.strike(Point::TryLock, Fault::Silence { done: true });
    drop_when_granted(lab, &lock, true).await;
    let next = start(async move { lock.read().await });
    lab.until_queued(&manager, 1).await;
    faults.clear();
    let guard = soon("the lock is free", next).await.unwrap().unwrap();
    let holders = lab.witness().holders("key".into()).await.unwrap();
    assert_eq!(holders.iter().map(|row| row.mode).collect::<Vec<_>>(), [Mode::Read]);
    guard.release().await.unwrap();
}

/// As if the end of the wait had come just after its grant.
pub async fn wait_that_fails_though_it_was_granted_holds_nothing(lab: &Lab) {
    let witness = lab.witness();
    let (manager, faults) = faulty(lab).await;
    let lock = manager.lock("key");
    for key in ["key", "another"] {
        witness.hold("key".into(), Mode::Write).await.unwrap();
        faults.strike_once(Point::Lock, Fault::Refused { done: true });
        let waiter = lock.clone();
        let wait = start(async move { waiter.write().await });
        witness.until_waiting("key".into(), 1).await.unwrap();
        witness.release("key".into(), Mode::Write).await.unwrap();
        soon("the wait has ended", wait).await.unwrap().unwrap_err();
        assert!(witness.holders("key".into()).await.unwrap().is_empty());
        manager.lock(key).write().await.unwrap().release().await.unwrap();
    }
}

pub async fn try_that_fails_though_it_was_granted_takes_nothing_else_away(lab: &Lab) {
    let (manager, faults) = faulty(lab).await;
    let held = manager.lock("held").write().await.unwrap();
    let lock = manager.lock("key");
    for done in [true, false] {
        faults.strike_once(Point::TryLock, Fault::Refused { done });
        // It may be told that it has the lock, as it does.
        drop(lock.try_write().await);
        lab.witness().until_free("key".into()).await.unwrap();
        soon("the lock is free", lock.write()).await.unwrap().release().await.unwrap();
    }
    assert!(held.is_held());
    held.release().await.unwrap();
}

pub async fn release_that_is_refused_is_made_up_for(lab: &Lab) {
    let (manager, faults) = faulty(lab).await;
    let lock = manager.lock("key");
    for done in [true, false] {
        let guard = lock.write().await.unwrap();
        faults.strike_once(Point::Unlock, Fault::Refused { done });
        soon("release", guard.release()).await.unwrap();
        assert!(lab.witness().holders("key".into()).await.unwrap().is_empty());
    }
}

/// The session lives, and the lock is gone all the same.
pub async fn release_of_a_lock_that_was_taken_away_says_so(lab: &Lab) {
    let (manager, faults) = faulty(lab).await;
    let lock = manager.lock("key");
    let guard = lock.write().await.unwrap();
    faults.strike_once(Point::Unlock, Fault::Twice);
    assert_eq!(soon("release", guard.release()).await.unwrap_err().kind(), ErrorKind::Lost);
    soon("the lock is free", lock.write()).await.unwrap().release().await.unwrap();
}

pub async fn statement_in_a_foreign_session_locks_nothing_and_fails(lab: &Lab) {
    let (manager, faults) = faulty(lab).await;
    let guard = manager.lock("held").write().await.unwrap();
    faults.strike(Point::TryLock, Fault::Moved);
    let error = manager.lock("new").try_write().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedServer);
    assert!(lab.witness().holders("new".into()).await.unwrap().is_empty());
    soon("the loss is told", guard.lost()).await;
    lab.witness().until_quiet().await.unwrap();
}

pub async fn release_in_a_foreign_session_is_no_silent_success(lab: &Lab) {
    let (manager, faults) = faulty(lab).await;
    let guard = manager.lock("held").write().await.unwrap();
    faults.strike(Point::Unlock, Fault::Moved);
    let error = guard.release().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost);
    lab.witness().until_quiet().await.unwrap();
}

async fn until_held(lab: &Lab, key: LockKey) {
    soon("the server grants the lock", async {
        while lab.witness().holders(key).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}
