//! Silence: a holder stops relying on its lock before the server grants it to the next one.
//!
//! To the other side, dead connections and stopped processes look alike.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pglock_core::{LockKey, Mode, WriteGuard};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::{SLACK, connect, lease, leased};
use crate::conformance::{Lab, Manager, Options, group, soon, start};
use crate::faults::{Direction, FaultError, Namespace, Proxy, Stopped, TestProcess};
use crate::postgres::TestServer;
use crate::witness::Witness;

group! { leases:
    silence_to_the_server_ends_guards_before_the_lock_is_free: Postgres,
    silence_from_the_server_ends_guards_before_the_lock_is_free: Postgres,
    silence_both_ways_ends_guards_before_the_lock_is_free: Postgres,
    partition_ends_guards_before_the_lock_is_free: Postgres,
    stopped_process_holds_nothing_when_it_continues: Postgres,
    process_that_stops_for_a_moment_loses_nothing: Postgres,
    lock_granted_to_a_stopped_process_is_not_handed_out: Postgres,
}

pub async fn silence_to_the_server_ends_guards_before_the_lock_is_free(lab: &Lab) {
    silence(lab, &[Direction::ToServer]).await;
}

pub async fn silence_from_the_server_ends_guards_before_the_lock_is_free(lab: &Lab) {
    silence(lab, &[Direction::ToClient]).await;
}

pub async fn silence_both_ways_ends_guards_before_the_lock_is_free(lab: &Lab) {
    silence(lab, &Direction::BOTH).await;
}

async fn silence(lab: &Lab, directions: &[Direction]) {
    if lacks_lease(lab).await {
        return;
    }
    let next = lab.manager();
    let cut = |key: &'static str, idle: Duration| {
        let next = next.clone();
        async move {
            let proxy = Proxy::start(&lab.address()).unwrap();
            let manager = lab.manager_at(proxy.url(), &leased()).unwrap();
            let guard = Arc::new(manager.lock(key).write().await.unwrap());
            sleep(idle).await;
            let cut = || directions.iter().for_each(|direction| proxy.stall(*direction));
            let what = format!("silence {directions:?} after {idle:?}");
            assert_one_holder(&what, &guard, &*next, lab.witness(), cut).await;
        }
    };
    tokio::join!(cut("at once", Duration::ZERO), cut("after a while", longer_than_leases()));
}

/// Packets are really lost, and the systems at both ends keep resending them.
pub async fn partition_ends_guards_before_the_lock_is_free(lab: &Lab) {
    if lacks_lease(lab).await {
        return;
    }
    if let Err(why @ FaultError::NotAllowed { .. }) = Namespace::new() {
        return lab.not_run(why);
    }
    let server = TestServer::private_with(&[Namespace::LISTEN]).await.unwrap();
    let observer = connect(server.url()).await;
    let next = lab.manager_at(server.url(), &leased()).unwrap();
    let cut = |directions: &'static [Direction], idle: Duration| {
        let (server, next, observer) = (&server, &next, &observer);
        async move {
            let key = LockKey::from(format!("{directions:?} {idle:?}"));
            let namespace = Namespace::new().unwrap();
            let manager_inside = {
                let (lab, url) = (lab.clone(), namespace.url(server).unwrap());
                // On a thread in the namespace; the engine's own thread is not in it.
                let here = || Options { runtime: Some(Handle::current()), ..leased() };
                move || lab.manager_at(&url, &here()).unwrap()
            };
            let (hand_out, guard) = oneshot::channel();
            let (over, is_over) = oneshot::channel::<()>();
            let inside = namespace.run(move || async move {
                let guard = manager_inside().lock(key).write().await.unwrap();
                hand_out.send(Arc::new(guard)).unwrap();
                // The session's tasks live as long as this.
                let _ = is_over.await;
            });
            let outside = async {
                let guard = guard.await.unwrap();
                sleep(idle).await;
                let cut = || directions.iter().for_each(|one| namespace.lose(*one).unwrap());
                let what = format!("packets lost {directions:?} after {idle:?}");
                assert_one_holder(&what, &guard, &**next, observer, cut).await;
                over.send(()).unwrap();
            };
            tokio::join!(inside, outside).0.unwrap();
        }
    };
    let cuts = |directions| async move {
        tokio::join!(cut(directions, Duration::ZERO), cut(directions, longer_than_leases()));
    };
    let [to_server, to_client] = [&Direction::BOTH[..1], &Direction::BOTH[1..]];
    tokio::join!(cuts(to_server), cuts(to_client), cuts(&Direction::BOTH));
}

fn longer_than_leases() -> Duration {
    lease().0 + Duration::from_millis(200)
}

/// The loss is reported in time, the lock is free in time, and its next holder is the only one that
/// relies on it.
async fn assert_one_holder(
    what: &str,
    guard: &Arc<WriteGuard>,
    next: &dyn Manager,
    observer: &dyn Witness,
    cut: impl FnOnce(),
) {
    let (server, guards) = lease();
    let (lock, held) = (next.lock(guard.key()), guard.clone());
    let wait = start(async move {
        let granted = lock.write().await.unwrap();
        (held.is_held(), Instant::now(), granted)
    });
    observer.until_waiting(guard.key(), 1).await.unwrap();
    assert!(guard.is_held());
    let begin = Instant::now();
    cut();
    soon("the loss is reported", guard.lost()).await;
    let reported = begin.elapsed();
    assert!(!guard.is_held());
    let (is_still_held, granted_at, granted) = soon("the lock is free", wait).await.unwrap();
    let granted_after = granted_at - begin;
    println!("{what}: reported after {reported:.2?}, next holder after {granted_after:.2?}");
    assert!(!is_still_held, "{what}: two hold the lock");
    assert!(reported <= guards + Duration::from_millis(100) + SLACK * 2, "{what}: {reported:?}");
    assert!(granted_after <= server + Duration::from_secs(1) + SLACK, "{what}: {granted_after:?}");
    granted.release().await.unwrap();
}

pub async fn stopped_process_holds_nothing_when_it_continues(lab: &Lab) {
    if lab.is_child() {
        return hold_and_answer(lab).await;
    }
    if lacks_lease(lab).await {
        return;
    }
    let mut process = lab.start_role("holder", &lab.address());
    assert_eq!(process.line().await.unwrap(), "held");
    let lock = lab.lock("key");
    let wait = start(async move { (lock.write().await.unwrap(), Instant::now()) });
    lab.witness().until_waiting("key".into(), 1).await.unwrap();
    let begin = Instant::now();
    let stopped = Stopped::stop(process.pid()).unwrap();
    // The process reads this before the engine can report anything.
    process.write("is it held?").unwrap();
    let (guard, granted) = soon("the lock is free", wait).await.unwrap();
    let free = granted - begin;
    println!("lock of a stopped process free after {free:.2?}");
    assert!(free <= lease().0 + Duration::from_secs(1) + SLACK, "{free:?}");
    stopped.resume();
    assert_eq!(process.line().await.unwrap(), "false");
    assert!(guard.is_held());
    guard.release().await.unwrap();
}

pub async fn process_that_stops_for_a_moment_loses_nothing(lab: &Lab) {
    if lab.is_child() {
        return hold_and_answer(lab).await;
    }
    let mut process = lab.start_role("holder", &lab.address());
    assert_eq!(process.line().await.unwrap(), "held");
    for _ in 0..3 {
        let stopped = Stopped::stop(process.pid()).unwrap();
        sleep(lease().1 / 4).await;
        stopped.resume();
        // Long enough for a heartbeat and its answer.
        sleep(lease().1 / 3).await;
        process.write("is it held?").unwrap();
        assert_eq!(process.line().await.unwrap(), "true");
    }
    assert!(lab.lock("key").try_write().await.unwrap().is_none());
    // Frees its locks before the case ends.
    drop(process);
    lab.witness().until_free("key".into()).await.unwrap();
}

/// For the child: reports whether it holds the lock, each time it is asked.
async fn hold_and_answer(lab: &Lab) {
    let guard = lab.manager_with(&leased()).lock("key").write().await.unwrap();
    TestProcess::print("held");
    let answer = move || {
        for _ in io::stdin().lines() {
            TestProcess::print(&guard.is_held().to_string());
        }
    };
    spawn_blocking(answer).await.unwrap();
}

/// The process is stopped after the server has granted the lock, but before the process knows.
pub async fn lock_granted_to_a_stopped_process_is_not_handed_out(lab: &Lab) {
    let (server, _) = lease();
    if lab.is_child() {
        let lock = lab.manager_with(&leased()).lock("key");
        let outcome = lock.try_write_for(server + Duration::from_secs(4)).await;
        return TestProcess::print(&match outcome {
            Ok(guard) => format!("handed out, is held: {}", guard.is_held()),
            Err(error) => format!("{:?}", error.kind()),
        });
    }
    if lacks_lease(lab).await {
        return;
    }
    let (key, witness) = (LockKey::from("key"), lab.witness());
    let proxy = Proxy::start(&lab.address()).unwrap();
    witness.hold(key, Mode::Write).await.unwrap();
    let mut process = lab.start_role("waiter", proxy.url());
    let pid = witness.until_waiting(key, 1).await.unwrap()[0].pid;
    let lock = lab.lock("key");
    let wait = start(async move { lock.write().await.unwrap() });
    witness.until_waiting(key, 2).await.unwrap();
    let connection = proxy.connection(pid).unwrap();
    connection.hold(Direction::ToClient, 'D');
    witness.release(key, Mode::Write).await.unwrap();
    let begin = Instant::now();
    connection.until_held(Direction::ToClient).await.unwrap();
    let stopped = Stopped::stop(process.pid()).unwrap();
    connection.release(Direction::ToClient);
    let guard = soon("the lock is free", wait).await.unwrap();
    let free = begin.elapsed();
    assert!(free <= server + Duration::from_secs(1) + SLACK, "{free:?}");
    stopped.resume();
    // Meanwhile it has tried again, without success.
    assert_eq!(process.line().await.unwrap(), "Timeout");
    assert!(guard.is_held());
    guard.release().await.unwrap();
}

/// Returns true if the server does not free the lock of a client that it cannot reach. In that case
/// it also reports the case as not run.
pub(super) async fn lacks_lease(lab: &Lab) -> bool {
    let has_lease = lab.has_lease().await;
    if !has_lease {
        lab.not_run("the server has no lease (PostgreSQL has one from version 14 on)");
    }
    !has_lease
}
