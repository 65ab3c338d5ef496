//! Answers from the server that are late, lost or meant for another session.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use pglock_core::{DistributedRwLock, ErrorKind, LockKey, Mode};

use super::{assert_advice, leased, until_modes};
use crate::conformance::{Lab, Manager, Options, group, soon, start};
use crate::faulty::{Fault, Faults, Point};

group! { answers:
    acquire_dropped_between_grant_and_answer_leaves_nothing: Engine,
    acquire_behind_a_dropped_one_gets_the_lock: Engine,
    failed_wait_holds_nothing_even_if_it_was_granted: Engine,
    failed_try_takes_no_other_lock_away_even_if_it_was_granted: Engine,
    refused_release_is_repeated: Engine,
    release_of_a_lock_that_was_taken_away_fails: Engine,
    statement_in_a_foreign_session_locks_nothing_and_fails: Engine,
    release_in_a_foreign_session_fails: Engine,
    heartbeat_in_a_foreign_session_is_a_loss: Engine,
    statement_in_a_foreign_session_ends_a_dedicated_one: Engine,
}

/// A manager with a session. The case controls its faults.
async fn faulty(lab: &Lab) -> (Arc<dyn Manager>, Faults) {
    let faults = Faults::new();
    let options = Options { faults: Some(faults.clone()), ..Options::default() };
    let manager = lab.manager_with(&options);
    manager.lock("other").write().await.unwrap().release().await.unwrap();
    (manager, faults)
}

/// Begins to wait, and drops the wait after the server has granted the lock but before the answer
/// has arrived.
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
    // The lock of the dropped one becomes a read lock.
    until_modes(lab, "key", &[Mode::Read]).await;
    guard.release().await.unwrap();
}

/// As if the end of the wait had arrived just after its grant.
pub async fn failed_wait_holds_nothing_even_if_it_was_granted(lab: &Lab) {
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

pub async fn failed_try_takes_no_other_lock_away_even_if_it_was_granted(lab: &Lab) {
    let (manager, faults) = faulty(lab).await;
    let held = manager.lock("held").write().await.unwrap();
    let lock = manager.lock("key");
    for done in [true, false] {
        faults.strike_once(Point::TryLock, Fault::Refused { done });
        // The try may succeed, since the lock was granted.
        drop(lock.try_write().await);
        lab.witness().until_free("key".into()).await.unwrap();
        soon("the lock is free", lock.write()).await.unwrap().release().await.unwrap();
    }
    assert!(held.is_held());
    held.release().await.unwrap();
}

pub async fn refused_release_is_repeated(lab: &Lab) {
    let (manager, faults) = faulty(lab).await;
    let lock = manager.lock("key");
    for done in [true, false] {
        let guard = lock.write().await.unwrap();
        faults.strike_once(Point::Unlock, Fault::Refused { done });
        soon("release", guard.release()).await.unwrap();
        assert!(lab.witness().holders("key".into()).await.unwrap().is_empty());
    }
}

/// The session lives, but the lock is gone.
pub async fn release_of_a_lock_that_was_taken_away_fails(lab: &Lab) {
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
    soon("the loss is reported", guard.lost()).await;
    lab.witness().until_quiet().await.unwrap();
}

pub async fn release_in_a_foreign_session_fails(lab: &Lab) {
    let (manager, faults) = faulty(lab).await;
    let guard = manager.lock("held").write().await.unwrap();
    faults.strike(Point::Unlock, Fault::Moved);
    let error = guard.release().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost);
    lab.witness().until_quiet().await.unwrap();
}

const ADVICE: [&str; 2] =
    ["in another server session", "directly or through a pooler in session mode"];

pub async fn heartbeat_in_a_foreign_session_is_a_loss(lab: &Lab) {
    let faults = Faults::new();
    let options = Options { faults: Some(faults.clone()), ..leased() };
    let guard = lab.manager_with(&options).lock("held").write().await.unwrap();
    faults.strike(Point::Holdings, Fault::Moved);
    soon("a heartbeat", guard.lost()).await;
    assert_advice(&guard.release().await.unwrap_err(), ErrorKind::Lost, &ADVICE);
    lab.witness().until_quiet().await.unwrap();
}

/// As behind a pooler in transaction mode that has assigned its server session to another client.
pub async fn statement_in_a_foreign_session_ends_a_dedicated_one(lab: &Lab) {
    for point in [Point::TryLock, Point::Lock, Point::Unlock, Point::Holdings] {
        let (manager, faults) = faulty(lab).await;
        let session = manager.session().await.unwrap();
        let (held, other) =
            (session.write("held").await.unwrap(), session.read("other").await.unwrap());
        lab.witness().hold("busy".into(), Mode::Write).await.unwrap();
        faults.strike(point, Fault::Moved);
        let (kind, moved) = match point {
            Point::TryLock => (ErrorKind::UnsupportedServer, session.try_write("new").await.err()),
            Point::Lock => (ErrorKind::UnsupportedServer, session.write("busy").await.err()),
            Point::Unlock => (ErrorKind::Lost, other.release().await.err()),
            // At the next heartbeat.
            _ => (ErrorKind::Lost, held.protect(pending::<()>()).await.err()),
        };
        assert_advice(&moved.expect("it has moved"), kind, &ADVICE);
        soon("the loss is reported", held.lost()).await;
        assert_advice(&held.release().await.unwrap_err(), ErrorKind::Lost, &ADVICE);
        let error = session.try_write("later").await.unwrap_err();
        assert_advice(&error, ErrorKind::UnsupportedServer, &ADVICE);
        lab.witness().release("busy".into(), Mode::Write).await.unwrap();
        lab.witness().until_quiet().await.unwrap();
    }
}

async fn until_held(lab: &Lab, key: LockKey) {
    soon("the server grants the lock", async {
        while lab.witness().holders(key).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}
