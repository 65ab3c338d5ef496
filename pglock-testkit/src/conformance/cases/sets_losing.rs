//! Sets whose sessions end: before they are taken, and after.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pglock_core::{ErrorKind, LockKey, Mode, SetGuard};

use super::sets::held;
use crate::conformance::{Lab, Manager, Options, group, soon, start};
use crate::faulty::{Fault, Faults, Point};

group! { sets_losing:
    set_is_lost_with_any_of_its_locks: Sessions,
    loss_of_several_locks_is_one_of_the_set: Sessions,
    released_set_reports_no_loss: Sessions,
    protected_work_ends_with_any_lock_of_the_set: Sessions,
    waiting_set_begins_anew_when_it_loses_a_lock: Sessions,
    session_that_ends_at_any_step_leaves_nothing_of_a_set: Engine,
    set_is_not_handed_out_after_a_loss: Engine,
}

/// The session that holds the key.
async fn session_of(lab: &Lab, key: i64) -> i32 {
    lab.witness().holders(key.into()).await.unwrap()[0].pid
}

async fn end_session_of(lab: &Lab, key: i64) {
    assert!(lab.witness().terminate(session_of(lab, key).await).await.unwrap());
}

/// A set of two keys, each held by a session of its own: it has waited for the second one.
async fn on_two_sessions(lab: &Lab, manager: &Arc<dyn Manager>) -> SetGuard {
    let witness = lab.witness();
    witness.hold(2.into(), Mode::Write).await.unwrap();
    let set = manager.set().write(1).write(2);
    let wait = start(async move { set.acquire().await.unwrap() });
    witness.until_waiting(2.into(), 1).await.unwrap();
    witness.release(2.into(), Mode::Write).await.unwrap();
    let guard = soon("it is free", wait).await.unwrap();
    assert_ne!(session_of(lab, 1).await, session_of(lab, 2).await);
    guard
}

pub async fn set_is_lost_with_any_of_its_locks(lab: &Lab) {
    let manager = lab.manager();
    for lost in [1, 2] {
        let guard = on_two_sessions(lab, &manager).await;
        let lease = guard.lease().clone();
        assert!(guard.valid_for() > Duration::ZERO && lease.valid_for() > Duration::ZERO);
        end_session_of(lab, lost).await;
        soon("the loss is told", guard.lost()).await;
        soon("the loss is told", lease.lost()).await;
        assert!(!guard.is_held() && !lease.is_held());
        assert_eq!((guard.valid_for(), lease.valid_for()), (Duration::ZERO, Duration::ZERO));
        let error = soon("release", guard.release()).await.unwrap_err();
        assert_eq!((error.kind(), error.key()), (ErrorKind::Lost, Some(lost.into())));
        // The other one is released all the same.
        lab.witness().until_quiet().await.unwrap();
    }
}

pub async fn loss_of_several_locks_is_one_of_the_set(lab: &Lab) {
    let manager = lab.manager();
    let guard = on_two_sessions(lab, &manager).await;
    let told = Arc::new(AtomicUsize::new(0));
    let count = || {
        let told = told.clone();
        move || {
            told.fetch_add(1, Ordering::SeqCst);
        }
    };
    guard.on_loss(count());
    guard.lease().clone().on_loss(count());
    lab.end_sessions().await;
    lab.until("both are told", || told.load(Ordering::SeqCst) == 2).await;
    lab.witness().until_sessions("pglock", 1).await.unwrap();
    // At once, if it was lost before.
    guard.on_loss(count());
    assert_eq!(told.load(Ordering::SeqCst), 3);
    // Both locks are lost by now.
    let [one, two] = [1, 2].map(|key| manager.lock(key));
    soon("free", one.write()).await.unwrap().release().await.unwrap();
    soon("free", two.write()).await.unwrap().release().await.unwrap();
    assert_eq!(told.load(Ordering::SeqCst), 3);
    drop(guard);
}

pub async fn released_set_reports_no_loss(lab: &Lab) {
    let manager = lab.manager();
    let told = Arc::new(AtomicUsize::new(0));
    for confirm in [true, false] {
        let guard = on_two_sessions(lab, &manager).await;
        let told = told.clone();
        guard.on_loss(move || {
            told.fetch_add(1, Ordering::SeqCst);
        });
        let lease = guard.lease().clone();
        match confirm {
            true => guard.release().await.unwrap(),
            false => drop(guard),
        }
        assert!(!lease.is_held());
        soon("the lease has ended", lease.lost()).await;
        let error = lease.protect(pending::<()>()).await.unwrap_err();
        assert!(error.to_string().contains("released"), "{error}");
        lab.witness().until_quiet().await.unwrap();
    }
    lab.end_sessions().await;
    let guard = soon("a new session", manager.set().write(1).write(2).acquire()).await.unwrap();
    assert_eq!(Arc::strong_count(&told), 1, "the functions are dropped");
    assert_eq!(told.load(Ordering::SeqCst), 0);
    guard.release().await.unwrap();
}

pub async fn protected_work_ends_with_any_lock_of_the_set(lab: &Lab) {
    let manager = lab.manager();
    let guard = on_two_sessions(lab, &manager).await;
    assert_eq!(guard.protect(async { 7 }).await.unwrap(), 7);
    let work = start(async move { guard.protect(pending::<()>()).await });
    end_session_of(lab, 2).await;
    let error = soon("the work is stopped", work).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.key()), (ErrorKind::Lost, Some(2.into())));
}

/// It does not go on in the queue, while others have what it has lost.
pub async fn waiting_set_begins_anew_when_it_loses_a_lock(lab: &Lab) {
    let (manager, witness) = (lab.manager(), lab.witness());
    witness.hold(2.into(), Mode::Write).await.unwrap();
    let set = manager.set().write(1).write(2);
    let wait = start(async move { set.acquire().await.unwrap() });
    witness.until_waiting(2.into(), 1).await.unwrap();
    let other = lab.lock(1);
    let behind = start(async move { other.write().await.unwrap() });
    witness.until_waiting(1.into(), 1).await.unwrap();
    end_session_of(lab, 1).await;
    let guard = soon("the lost lock is free", behind).await.unwrap();
    // Behind the other one now, and with nothing.
    witness.until_waiting(1.into(), 1).await.unwrap();
    lab.until("it has left the queue", || manager.stats().held == 0).await;
    guard.release().await.unwrap();
    witness.until_waiting(2.into(), 1).await.unwrap();
    witness.release(2.into(), Mode::Write).await.unwrap();
    let guard = soon("all are free", wait).await.unwrap();
    let both = [(LockKey::from(1), Mode::Write), (2.into(), Mode::Write)];
    assert_eq!(held(witness).await, both);
    assert!(guard.is_held());
    guard.release().await.unwrap();
}

pub async fn session_that_ends_at_any_step_leaves_nothing_of_a_set(lab: &Lab) {
    let faults = Faults::new();
    let options = Options { faults: Some(faults.clone()), ..Options::default() };
    let (manager, witness) = (lab.manager_with(&options), lab.witness());
    let points = [Point::Connect, Point::Open, Point::TryLock, Point::Lock, Point::Unlock];
    for point in points {
        for fault in [
            Fault::Broken { done: false },
            Fault::Broken { done: true },
            Fault::Refused { done: false },
            Fault::Refused { done: true },
        ] {
            witness.hold(2.into(), Mode::Write).await.unwrap();
            if matches!(point, Point::Connect | Point::Open) {
                lab.end_sessions().await;
            }
            faults.strike_once(point, fault);
            let set = manager.set().write(1).write(2).read(3);
            let wait = start(async move { set.acquire().await });
            tokio::task::yield_now().await;
            witness.release(2.into(), Mode::Write).await.unwrap();
            // It may fail, or have all of them.
            if let Ok(guard) = soon("it ends", wait).await.unwrap() {
                // The release may be hit.
                drop(soon("it is released", guard.release()).await);
            }
            faults.clear();
            soon("nothing stays", witness.until_quiet()).await.unwrap();
            lab.until("here, too", || manager.stats().held == 0).await;
            assert_eq!(manager.stats().waiting, 0, "{point:?} {fault:?}");
        }
    }
    let guard = soon("all are free", manager.set().write(1).write(2).acquire()).await.unwrap();
    guard.release().await.unwrap();
}

/// The answer is late, and the session ends before the caller has seen it.
pub async fn set_is_not_handed_out_after_a_loss(lab: &Lab) {
    let faults = Faults::new();
    let options = Options { faults: Some(faults.clone()), ..Options::default() };
    let manager = lab.manager_with(&options);
    manager.check().await.unwrap();
    faults.strike(Point::TryLock, Fault::Silence { done: true });
    let set = manager.set().write(1).write(2);
    let wait = start(async move { set.acquire().await.unwrap() });
    let before = until_granted(lab, None).await;
    assert!(lab.witness().terminate(before).await.unwrap());
    let after = until_granted(lab, Some(before)).await;
    assert!(!wait.is_finished());
    faults.clear();
    let guard = soon("another session has them", wait).await.unwrap();
    assert!(guard.is_held());
    assert_eq!(session_of(lab, 1).await, after);
    guard.release().await.unwrap();
}

/// Waits until the server has granted the first key to a session that is not this one.
async fn until_granted(lab: &Lab, other: Option<i32>) -> i32 {
    soon("the server grants them", async {
        loop {
            let holders = lab.witness().holders(1.into()).await.unwrap();
            let mut sessions = holders.iter().map(|row| row.pid);
            if let Some(pid) = sessions.find(|pid| Some(*pid) != other) {
                return pid;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}
