//! Dedicated sessions that several tasks use, and whose waits are interrupted, dropped or refused.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pglock_core::ErrorKind;
use pglock_core::Mode::{Read, Write};
use tokio::time::{sleep, timeout};

use super::cancelling::drop_after;
use super::dedicated::session;
use crate::conformance::{Lab, Manager, Options, group, soon, start};
use crate::faulty::{Fault, Faults, Point};

group! { sharing_sessions:
    release_does_not_wait_behind_a_wait: Engine,
    try_does_not_wait_behind_a_wait: Engine,
    waits_queue_in_the_session: Engine,
    wait_outlasts_the_lease: Engine,
    acquires_may_be_dropped_at_any_poll: Engine,
    waits_that_end_at_the_grant_hold_nothing: Engine,
    sessions_that_lock_in_any_order_always_end: Engine,
    refused_statements_leave_nothing: Engine,
    granted_wait_that_was_refused_has_the_lock: Engine,
    lock_taken_from_a_live_session_is_lost: Engine,
    silent_server_ends_the_session: Engine,
    no_time_lasts_until_the_answer: Engine,
}

pub async fn release_does_not_wait_behind_a_wait(lab: &Lab) {
    let session = Arc::new(session(lab).await);
    let witness = lab.witness();
    let guards = (session.write("a").await.unwrap(), session.write("b").await.unwrap());
    witness.hold("key".into(), Write).await.unwrap();
    let waiter = session.clone();
    let wait = start(async move { waiter.write("key").await });
    witness.until_waiting("key".into(), 1).await.unwrap();
    soon("a confirmed release", guards.0.release()).await.unwrap();
    // The wait goes on.
    witness.until_waiting("key".into(), 1).await.unwrap();
    drop(guards.1);
    witness.until_free("b".into()).await.unwrap();
    witness.until_waiting("key".into(), 1).await.unwrap();
    assert!(witness.release("key".into(), Write).await.unwrap());
    drop(soon("the wait ends", wait).await.unwrap().unwrap());
}

pub async fn try_does_not_wait_behind_a_wait(lab: &Lab) {
    let session = Arc::new(session(lab).await);
    let witness = lab.witness();
    let a = session.write("a").await.unwrap();
    witness.hold("key".into(), Write).await.unwrap();
    let waiter = session.clone();
    let wait = start(async move { waiter.read("key").await });
    witness.until_waiting("key".into(), 1).await.unwrap();
    let again = soon("a lock of the session", session.try_write("a")).await.unwrap();
    let free = soon("a free lock", session.try_read("free")).await.unwrap();
    let busy = soon("a busy lock", session.try_read("key")).await.unwrap();
    assert!(again.is_some() && free.is_some() && busy.is_none());
    let error = soon("zero", session.try_write_for("key", Duration::ZERO)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(a.is_held() && !wait.is_finished());
    assert!(witness.release("key".into(), Write).await.unwrap());
    drop(soon("the wait ends", wait).await.unwrap().unwrap());
}

pub async fn waits_queue_in_the_session(lab: &Lab) {
    let session = Arc::new(session(lab).await);
    let witness = lab.witness();
    witness.hold("key".into(), Write).await.unwrap();
    let mut waits = Vec::new();
    for _ in 0..3 {
        let waiter = session.clone();
        waits.push(start(async move { waiter.write("key").await }));
    }
    witness.until_waiting("key".into(), 1).await.unwrap();
    let begin = Instant::now();
    let patience = Duration::from_millis(100);
    let error = session.try_write_for("free", patience).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "it is behind the wait");
    assert!(begin.elapsed() >= patience);
    assert_eq!(witness.waiters("key".into()).await.unwrap().len(), 1);
    assert!(witness.release("key".into(), Write).await.unwrap());
    let mut guards = Vec::new();
    for wait in waits {
        // They belong to one session, and do not exclude each other.
        guards.push(soon("all have it", wait).await.unwrap().unwrap());
    }
    assert_eq!(witness.holders("key".into()).await.unwrap().len(), 1);
}

pub async fn wait_outlasts_the_lease(lab: &Lab) {
    let (server, guard) = (Duration::from_millis(6000), Duration::from_millis(4000));
    let options =
        Options { server_lease: Some(server), guard_lease: Some(guard), ..Options::default() };
    let session = lab.manager_with(&options).session().await.unwrap();
    let held = session.write("held").await.unwrap();
    lab.witness().hold("key".into(), Write).await.unwrap();
    let begin = Instant::now();
    let wait = start(async move { (session.write("key").await.unwrap(), session) });
    while begin.elapsed() < server + guard {
        assert!(held.is_held());
        sleep(Duration::from_millis(50)).await;
    }
    lab.witness().until_waiting("key".into(), 1).await.unwrap();
    assert!(lab.witness().release("key".into(), Write).await.unwrap());
    let (key, _session) = soon("the wait ends", wait).await.unwrap();
    key.release().await.unwrap();
    held.release().await.unwrap();
}

pub async fn acquires_may_be_dropped_at_any_poll(lab: &Lab) {
    let (ours, other) = (session(lab).await, session(lab).await);
    let manager = lab.manager();
    let held = ours.write("held").await.unwrap();
    for polls in 0..12 {
        drop_after(polls, || manager.session()).await;
        drop_after(polls, || ours.write("key")).await;
        drop_after(polls, || ours.try_read("key")).await;
        let theirs = soon("nothing is left", other.write("key")).await.unwrap();
        drop_after(polls, || ours.write("key")).await;
        drop_after(polls, || ours.try_write("key")).await;
        drop_after(polls, || ours.try_read_for("key", Duration::from_secs(5))).await;
        drop_after(polls, || ours.write("held")).await;
        let guard = ours.write("other").await.unwrap();
        drop_after(polls, || guard.release()).await;
        theirs.release().await.unwrap();
        lab.witness().until_free("other".into()).await.unwrap();
        lab.witness().until_free("key".into()).await.unwrap();
        assert!(held.is_held());
        drop(soon("the session goes on", ours.write("key")).await.unwrap());
    }
    held.release().await.unwrap();
}

/// The holder's release is swept around the end of the wait.
pub async fn waits_that_end_at_the_grant_hold_nothing(lab: &Lab) {
    let session = session(lab).await;
    let witness = lab.witness();
    let held = session.read("held").await.unwrap();
    let (mut failed, mut granted) = (0, 0);
    for round in 0..200_u64 {
        witness.hold("key".into(), Write).await.unwrap();
        let wait = Duration::from_millis(8);
        let release_at =
            wait + Duration::from_micros(100 * (round % 40)) - Duration::from_micros(1500);
        let begin = Instant::now();
        let acquire = async {
            match round % 2 {
                0 => session.try_write_for("key", wait).await.map(drop).is_ok(),
                _ => timeout(wait, session.write("key")).await.is_ok(),
            }
        };
        let release = async {
            while begin.elapsed() < release_at {
                tokio::task::yield_now().await;
            }
            assert!(witness.release("key".into(), Write).await.unwrap());
        };
        match tokio::join!(acquire, release).0 {
            true => granted += 1,
            false => failed += 1,
        }
        witness.until_free("key".into()).await.unwrap();
        assert!(held.is_held());
    }
    assert!(failed > 20, "{failed} failed, {granted} were granted");
    assert_eq!(witness.holders("held".into()).await.unwrap().len(), 1);
    held.release().await.unwrap();
}

/// Each takes three of four keys, in an order of its own. A victim gives all of them up.
pub async fn sessions_that_lock_in_any_order_always_end(lab: &Lab) {
    let mut tasks = Vec::new();
    for task in 0..4_usize {
        let session = session(lab).await;
        tasks.push(start(async move {
            let (mut turns, mut victims, mut random) = (0, 0, task as u64 + 1);
            while turns < 6 {
                let mut guards = Vec::new();
                for _ in 0..3 {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    match session.write((random >> 33) as i64 % 4).await {
                        Ok(guard) => guards.push(guard),
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Deadlock, "{error:?}");
                            break;
                        }
                    }
                }
                assert!(guards.iter().all(|guard| guard.is_held()));
                let is_done = guards.len() == 3;
                for guard in guards {
                    guard.release().await.unwrap();
                }
                if is_done { turns += 1 } else { victims += 1 }
            }
            victims
        }));
    }
    for task in tasks {
        timeout(Duration::from_secs(120), task).await.expect("all end").unwrap();
    }
    lab.witness().until_quiet().await.unwrap();
}

async fn faulty(lab: &Lab) -> (Arc<dyn Manager>, Faults) {
    let faults = Faults::new();
    let options = Options { faults: Some(faults.clone()), ..Options::default() };
    (lab.manager_with(&options), faults)
}

pub async fn refused_statements_leave_nothing(lab: &Lab) {
    let (manager, faults) = faulty(lab).await;
    let session = manager.session().await.unwrap();
    let held = session.write("held").await.unwrap();
    for done in [false, true] {
        faults.strike_once(Point::TryLock, Fault::Refused { done });
        match session.try_write("key").await {
            // It was granted all the same.
            Ok(guard) => assert!(done && guard.is_some()),
            Err(error) => assert_eq!((error.kind(), done), (ErrorKind::Driver, false)),
        }
        lab.witness().until_free("key".into()).await.unwrap();
        let guard = session.write("key").await.unwrap();
        faults.strike_once(Point::Unlock, Fault::Refused { done });
        soon("a repeated release", guard.release()).await.unwrap();
        lab.witness().until_free("key".into()).await.unwrap();
    }
    assert!(held.is_held());
    held.release().await.unwrap();
}

pub async fn granted_wait_that_was_refused_has_the_lock(lab: &Lab) {
    let (manager, faults) = faulty(lab).await;
    let session = manager.session().await.unwrap();
    lab.witness().hold("key".into(), Read).await.unwrap();
    faults.strike_once(Point::Lock, Fault::Refused { done: true });
    let wait = start(async move { (session.write("key").await, session) });
    lab.witness().until_waiting("key".into(), 1).await.unwrap();
    assert!(lab.witness().release("key".into(), Read).await.unwrap());
    let (guard, session) = soon("the wait ends", wait).await.unwrap();
    guard.unwrap().release().await.unwrap();
    lab.witness().until_free("key".into()).await.unwrap();
    session.close().await.unwrap();
}

pub async fn lock_taken_from_a_live_session_is_lost(lab: &Lab) {
    let (manager, faults) = faulty(lab).await;
    let session = manager.session().await.unwrap();
    session.write("key").await.unwrap().release().await.unwrap();
    let guard = session.write("key").await.unwrap();
    faults.strike_once(Point::Holdings, Fault::Robbed);
    soon("a heartbeat", guard.lost()).await;
    assert_eq!(guard.release().await.unwrap_err().kind(), ErrorKind::Lost);
}

pub async fn silent_server_ends_the_session(lab: &Lab) {
    let faults = Faults::new();
    let options = Options {
        server_lease: Some(Duration::from_millis(3000)),
        guard_lease: Some(Duration::from_millis(2000)),
        faults: Some(faults.clone()),
        ..Options::default()
    };
    let session = lab.manager_with(&options).session().await.unwrap();
    let guard = session.write("key").await.unwrap();
    faults.strike(Point::Holdings, Fault::Silence { done: false });
    faults.strike(Point::TryLock, Fault::Silence { done: false });
    let begin = Instant::now();
    let error = session.try_write_for("other", Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection, "{error:?}");
    soon("the lease ends", guard.lost()).await;
    assert!(begin.elapsed() < Duration::from_secs(4));
    lab.witness().until_free("key".into()).await.unwrap();
    faults.clear();
}

pub async fn no_time_lasts_until_the_answer(lab: &Lab) {
    let faults = Faults::new();
    let options = Options { faults: Some(faults.clone()), ..Options::default() };
    let session = lab.manager_with(&options).session().await.unwrap();
    let witness = lab.witness();
    witness.hold("busy".into(), Write).await.unwrap();
    faults.strike(Point::TryLock, Fault::Slow(Duration::from_millis(400)));
    let busy = soon("busy", session.try_write_for("busy", Duration::ZERO)).await;
    assert_eq!(busy.unwrap_err().kind(), ErrorKind::Timeout);
    assert!(soon("free", session.try_write_for("free", Duration::ZERO)).await.is_ok());
    assert!(faults.strikes() > 0);
    assert!(witness.release("busy".into(), Write).await.unwrap());
}
