//! Lost locks: which guards report the loss, how soon, and which do not.

use std::future::ready;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pglock_core::{DistributedRwLock, ErrorKind, LockKey, Mode, WriteGuard};
use tokio::time::sleep;

use super::{SLACK, connect, database, holder, lease, leased};
use crate::conformance::latencies::Latencies;
use crate::conformance::{Lab, Options, group, is_long, soon, start};
use crate::faults::{Direction, Proxy, Stopped, kill};
use crate::faulty::{Fault, Faults, Point};
use crate::postgres::{StopMode, TestServer};
use crate::witness::Witness;

group! { losing:
    terminated_session_is_reported_promptly: Sessions,
    end_of_the_server_is_reported_promptly: Postgres,
    every_guard_reports_the_loss_and_keeps_reporting_it: Sessions,
    release_of_one_guard_is_no_loss_to_another,
    forgotten_guard_holds_its_lock_until_the_manager_is_closed,
    lock_taken_from_a_live_session_is_lost_within_a_heartbeat: Engine,
    stopped_backend_is_suspected_when_the_lease_expires: Postgres,
    wait_that_the_server_has_forgotten_is_begun_again: Postgres,
    confirmed_guards_never_overlap_while_sessions_end: Sessions,
}

/// The time within which the end of a session is reported.
const PROMPT: Duration = Duration::from_millis(250);

pub async fn terminated_session_is_reported_promptly(lab: &Lab) {
    let lock = lab.lock("key");
    let mut reports = Latencies::default();
    for _ in 0..50 {
        let guard = soon("a new session", lock.write()).await.unwrap();
        let pid = holder(lab.witness(), "key").await;
        let begin = Instant::now();
        let (_, lost) = tokio::join!(lab.witness().terminate(pid), lost_at(&guard));
        reports.push(lost - begin);
        assert!(!guard.is_held());
    }
    // Not all of them, since the machine may delay some.
    reports.assert_percentile_below("loss reported after pg_terminate_backend", 90, PROMPT);
}

pub async fn end_of_the_server_is_reported_promptly(lab: &Lab) {
    let server = TestServer::private().await.unwrap();
    let lock = lab.manager_at(server.url(), &Options::default()).unwrap().lock("key");
    for outage in ["fast stop", "immediate stop", "killed postmaster", "killed backend"] {
        let mut reports = Latencies::default();
        for _ in 0..3 {
            let guard = soon("the server is back", lock.write()).await.unwrap();
            let backend = holder(&connect(server.url()).await, "key").await;
            let begin = Instant::now();
            let happens = async {
                match outage {
                    "fast stop" => server.stop(StopMode::Fast).await.unwrap(),
                    "immediate stop" => server.stop(StopMode::Immediate).await.unwrap(),
                    "killed postmaster" => server.kill().await.unwrap(),
                    // The server ends all sessions with it, and recovers on its own.
                    _ => kill(backend).unwrap(),
                }
            };
            let ((), lost) = tokio::join!(happens, lost_at(&guard));
            reports.push(lost - begin);
            assert!(!guard.is_held());
            server.start().await.unwrap();
        }
        reports.assert_below(&format!("loss reported after {outage}"), PROMPT + SLACK);
    }
}

async fn lost_at(guard: &WriteGuard) -> Instant {
    soon("the loss is reported", guard.lost()).await;
    Instant::now()
}

/// The message that ends the session is lost on the way. Nothing else in the manager is disturbed.
pub async fn wait_that_the_server_has_forgotten_is_begun_again(lab: &Lab) {
    let key = LockKey::from("key");
    let database = database().await;
    let proxy = Proxy::start(database.url()).unwrap();
    let witness = connect(database.url()).await;
    let manager = lab.manager_at(proxy.url(), &leased()).unwrap();
    let kept = manager.lock("other").write().await.unwrap();
    witness.hold(key, Mode::Write).await.unwrap();
    let lock = manager.lock(key);
    let wait = start(async move { lock.write().await });
    witness.until_waiting(key, 1).await.unwrap();
    let [waiting] = witness.waiters(key).await.unwrap()[..] else { panic!("one waits") };
    let connection = proxy.connection(waiting.pid).unwrap();
    for direction in Direction::BOTH {
        connection.stall(direction);
    }
    witness.terminate(waiting.pid).await.unwrap();
    while !witness.waiters(key).await.unwrap().iter().any(|row| row.pid != waiting.pid) {
        sleep(Duration::from_millis(10)).await;
    }
    witness.release(key, Mode::Write).await.unwrap();
    soon("it waits again", wait).await.unwrap().unwrap().release().await.unwrap();
    kept.release().await.unwrap();
    manager.close().await.unwrap();
    witness.until_quiet().await.unwrap();
}

pub async fn every_guard_reports_the_loss_and_keeps_reporting_it(lab: &Lab) {
    let manager = lab.manager();
    let asking = Arc::new(manager.lock("asking").write().await.unwrap());
    let quiet = manager.lock("quiet").write().await.unwrap();
    let reader = manager.lock("read").read().await.unwrap();
    let fellow = manager.lock("read").read().await.unwrap();
    let other = lab.lock("other").write().await.unwrap();
    let pid = holder(lab.witness(), "asking").await;
    assert_eq!(pid, holder(lab.witness(), "quiet").await, "one session holds them all");
    let two =
        [asking.clone(), asking.clone()].map(|guard| start(async move { guard.lost().await }));
    lab.witness().terminate(pid).await.unwrap();
    for wait in two {
        soon("the loss is reported", wait).await.unwrap();
    }
    assert!(!asking.is_held() && !quiet.is_held() && !reader.is_held() && !fellow.is_held());
    // Each of these asks for the first time.
    for lost in [
        is_reported(quiet.lost()).await,
        is_reported(reader.lost()).await,
        is_reported(fellow.lost()).await,
    ] {
        assert!(lost);
    }
    assert!(is_reported(asking.lost()).await, "and again");
    let releases = [quiet.release().await, reader.release().await, fellow.release().await];
    for release in releases {
        assert_eq!(release.unwrap_err().kind(), ErrorKind::Lost);
    }
    assert!(other.is_held() && !is_reported(other.lost()).await, "another session's guard");
    other.release().await.unwrap();
}

pub async fn release_of_one_guard_is_no_loss_to_another(lab: &Lab) {
    let manager = lab.manager();
    let (key, lock) = (LockKey::from("key"), manager.lock("key"));
    let first = lock.read().await.unwrap();
    let second = lock.read().await.unwrap();
    first.release().await.unwrap();
    assert!(second.is_held() && !is_reported(second.lost()).await);
    let waiting = lock.clone();
    let wait = start(async move { waiting.write().await });
    lab.until_queued(&manager, 1).await;
    second.release().await.unwrap();
    // It may be the same lock at the server.
    let third = soon("the lock is free", wait).await.unwrap().unwrap();
    assert!(third.is_held() && !is_reported(third.lost()).await);
    third.release().await.unwrap();
    lab.witness().until_free(key).await.unwrap();
}

/// Whether the loss is reported by now.
async fn is_reported(lost: impl Future<Output = ()>) -> bool {
    tokio::select! {
        biased;
        () = lost => true,
        () = ready(()) => false,
    }
}

pub async fn forgotten_guard_holds_its_lock_until_the_manager_is_closed(lab: &Lab) {
    let manager = lab.manager();
    let guard = manager.lock("key").write().await.unwrap();
    std::mem::forget(guard);
    assert_eq!(manager.stats().held, 1);
    assert!(lab.lock("key").try_write().await.unwrap().is_none());
    manager.close().await.unwrap();
    lab.lock("key").try_write().await.unwrap().expect("the lock is free").release().await.unwrap();
}

/// This is why heartbeats ask for the lock, not just for a sign of life.
pub async fn lock_taken_from_a_live_session_is_lost_within_a_heartbeat(lab: &Lab) {
    let faults = Faults::new();
    let manager = lab.manager_with(&Options { faults: Some(faults.clone()), ..leased() });
    let lock = manager.lock("key");
    lock.write().await.unwrap().release().await.unwrap();
    let guard = lock.write().await.unwrap();
    let pid = holder(lab.witness(), "key").await;
    let begin = Instant::now();
    faults.strike_once(Point::Holdings, Fault::Robbed);
    let took = lost_at(&guard).await - begin;
    println!("loss reported {took:.1?} after the next heartbeat could be due");
    assert!(took <= lease().1 / 4 + SLACK * 2, "{took:?}");
    assert!(!guard.is_held());
    assert!(lab.witness().holders("key".into()).await.unwrap().iter().all(|row| row.pid != pid));
    assert_eq!(guard.release().await.unwrap_err().kind(), ErrorKind::Lost);
}

/// No client can know whether it will ever answer, so the lease errs on the safe side: the lock is
/// still there.
pub async fn stopped_backend_is_suspected_when_the_lease_expires(lab: &Lab) {
    let server = TestServer::private().await.unwrap();
    let observer = connect(server.url()).await;
    let lock = lab.manager_at(server.url(), &leased()).unwrap().lock("key");
    let guard = lock.write().await.unwrap();
    let backend = holder(&observer, "key").await;
    let begin = Instant::now();
    let stopped = Stopped::stop(backend).unwrap();
    let took = lost_at(&guard).await - begin;
    println!("loss reported {took:.1?} after the backend was stopped");
    assert!(took <= lease().1 + Duration::from_millis(100) + SLACK * 2, "{took:?}");
    assert!(!guard.is_held());
    assert_eq!(holder(&observer, "key").await, backend);
    assert_eq!(guard.release().await.unwrap_err().kind(), ErrorKind::Lost);
    stopped.resume();
    observer.until_free("key".into()).await.unwrap();
}

/// Several callers in each process, so that the lock also passes between them.
pub async fn confirmed_guards_never_overlap_while_sessions_end(lab: &Lab) {
    let end = Instant::now() + Duration::from_secs(if is_long() { 60 } else { 2 });
    let managers = (0..3).map(|_| lab.manager());
    let locks = managers.flat_map(|manager| [(); 3].map(|()| manager.lock("key")));
    let (over, held) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let tasks: Vec<_> = locks
        .map(|lock| (lock, over.clone(), held.clone()))
        .map(|(lock, over, held)| start(async move { hold_in_turn(&*lock, &over, &held).await }))
        .collect();
    let mut ended = 0;
    // On a busy machine it takes longer to end enough of them, and to have enough of them.
    while Instant::now() < end || ended <= 20 || held.lock().unwrap().len() <= 20 {
        sleep(Duration::from_millis(20)).await;
        let locks = lab.witness().locks().await.unwrap();
        // This hits sessions that hold the lock as well as sessions that wait.
        if let Some(row) = locks.get(ended % locks.len().max(1)) {
            lab.witness().terminate(row.pid).await.unwrap();
            ended += 1;
        }
    }
    over.store(true, Ordering::Relaxed);
    for task in tasks {
        soon("the lock comes free", task).await.unwrap();
    }
    let mut held = mem::take(&mut *held.lock().unwrap());
    held.sort_unstable();
    println!("{} confirmed guards, {ended} sessions ended", held.len());
    assert!(held.is_sorted_by(|(_, end), (begin, _)| end <= begin));
}

/// Notes the time during which it certainly held the lock: the server confirmed it afterwards.
async fn hold_in_turn(
    lock: &dyn DistributedRwLock,
    over: &AtomicBool,
    held: &Mutex<Vec<(Instant, Instant)>>,
) {
    while !over.load(Ordering::Relaxed) {
        let Ok(guard) = lock.write().await else { continue };
        let begin = Instant::now();
        sleep(Duration::from_millis(1)).await;
        let end = Instant::now();
        if guard.release().await.is_ok() {
            held.lock().unwrap().push((begin, end));
        }
    }
}
