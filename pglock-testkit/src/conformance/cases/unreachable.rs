//! What a manager reports while its server cannot be reached, and afterwards.

use std::error::Error as _;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use pglock_core::{DistributedRwLock, Error, ErrorKind, Mode};
use tokio::time::{Instant, sleep};

use super::listening::Listener;
use super::{as_role, connect, execute};
use crate::conformance::{Lab, Options, group, shown, soon};
use crate::faults::{Direction, Proxy};
use crate::faulty::{Fault, Faults, Point};
use crate::postgres::{StopMode, TestServer};
use crate::witness::Witness;

group! { unreachable:
    outage_is_not_reported_as_a_busy_lock: Postgres,
    connection_that_hangs_is_not_reported_as_a_busy_lock: Postgres,
    server_that_does_not_answer_is_not_reported_as_a_busy_lock: Postgres,
    refused_connection_is_not_reported_as_a_busy_lock: Postgres,
    idle_manager_reconnects_by_itself: Postgres,
    outage_is_logged_once_and_so_is_its_end: Postgres,
    check_connects_and_succeeds_if_locks_are_available,
    check_fails_while_the_server_refuses_it: Engine,
}

const SECOND: Duration = Duration::from_secs(1);

/// The errors of callers that wait this long, in every way.
async fn time_outs(lock: &Arc<dyn DistributedRwLock>, timeout: Duration) -> Vec<Error> {
    let (write, read) = tokio::join!(
        soon("try_write_for", lock.try_write_for(timeout)),
        soon("try_read_for", lock.try_read_for(timeout)),
    );
    vec![write.unwrap_err(), read.unwrap_err()]
}

fn stall(proxy: &Proxy) {
    for direction in Direction::BOTH {
        proxy.stall(direction);
    }
}

fn resume(proxy: &Proxy) {
    for direction in Direction::BOTH {
        proxy.resume(direction);
    }
}

pub async fn outage_is_not_reported_as_a_busy_lock(lab: &Lab) {
    let server = TestServer::private().await.unwrap();
    let manager = lab.manager_at(server.url(), &Options::default()).unwrap();
    let lock = manager.lock("key");
    lock.write().await.unwrap().release().await.unwrap();
    server.stop(StopMode::Fast).await.unwrap();
    lab.until("the loss is known", || !manager.stats().connected).await;
    let mut errors = time_outs(&lock, SECOND).await;
    for error in &errors {
        assert!(error.to_string().contains("the timeout"), "{error}");
    }
    errors.push(soon("try_write", lock.try_write()).await.map(drop).unwrap_err());
    errors.push(soon("inspect", manager.inspect("key".into())).await.unwrap_err());
    errors.push(soon("inspect_all", manager.inspect_all()).await.unwrap_err());
    errors.push(soon("check", manager.check()).await.unwrap_err());
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Connection, "{}", shown(&error));
        let source = error.source().expect("what the driver said");
        assert!(!source.is::<Error>(), "{}", shown(&error));
    }
    server.start().await.unwrap();
    soon("the server is back", lock.write()).await.unwrap().release().await.unwrap();
}

pub async fn connection_that_hangs_is_not_reported_as_a_busy_lock(lab: &Lab) {
    let server = TestServer::private().await.unwrap();
    let proxy = Proxy::start(server.url()).unwrap();
    stall(&proxy);
    let manager = lab.manager_at(proxy.url(), &Options::default()).unwrap();
    let lock = manager.lock("key");
    for error in time_outs(&lock, SECOND / 4).await {
        assert_eq!(error.kind(), ErrorKind::Connection, "{}", shown(&error));
        assert!(error.to_string().contains("connecting"), "{error}");
    }
    resume(&proxy);
    soon("the server is back", lock.write()).await.unwrap().release().await.unwrap();
    // The server was there and is gone.
    stall(&proxy);
    proxy.reset();
    lab.until("the loss is known", || !manager.stats().connected).await;
    for error in time_outs(&lock, SECOND / 4).await {
        assert_eq!(error.kind(), ErrorKind::Connection, "{}", shown(&error));
        assert!(error.source().is_some(), "why the session has ended: {}", shown(&error));
    }
    resume(&proxy);
    soon("the server is back", lock.write()).await.unwrap().release().await.unwrap();
}

pub async fn server_that_does_not_answer_is_not_reported_as_a_busy_lock(lab: &Lab) {
    let server = TestServer::private().await.unwrap();
    let witness = connect(server.url()).await;
    let proxy = Proxy::start(server.url()).unwrap();
    let manager = lab.manager_at(proxy.url(), &Options::default()).unwrap();
    let (free, busy) = (manager.lock("free"), manager.lock("busy"));
    free.write().await.unwrap().release().await.unwrap();
    witness.hold("busy".into(), Mode::Write).await.unwrap();
    let (errors, refused) = tokio::join!(
        async {
            witness.until_waiting("busy".into(), 1).await.unwrap();
            stall(&proxy);
            time_outs(&free, SECOND / 4).await
        },
        busy.try_write_for(SECOND * 2),
    );
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Connection, "{}", shown(&error));
        assert!(error.to_string().contains("not answered"), "{error}");
    }
    // The server has answered that another process holds the lock.
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Timeout);
    resume(&proxy);
    soon("the server answers", free.write()).await.unwrap().release().await.unwrap();
}

pub async fn refused_connection_is_not_reported_as_a_busy_lock(lab: &Lab) {
    let server = TestServer::private().await.unwrap();
    let witness = connect(server.url()).await;
    execute(&witness, "CREATE ROLE limited LOGIN").await;
    let url = as_role(server.url(), "limited");
    let manager = lab.manager_at(&url, &Options::default()).unwrap();
    let lock = manager.lock("key");
    lock.write().await.unwrap().release().await.unwrap();
    for (change, undo, kind) in [
        ("CONNECTION LIMIT 0", "CONNECTION LIMIT 9", ErrorKind::TooManyConnections),
        ("NOLOGIN", "LOGIN", ErrorKind::PermissionDenied),
    ] {
        execute(&witness, &format!("ALTER ROLE limited {change}")).await;
        for pid in witness.sessions("pglock").await.unwrap() {
            witness.terminate(pid).await.unwrap();
        }
        lab.until("the loss is known", || !manager.stats().connected).await;
        // Longer than the pool of a driver may retry on its own.
        for error in time_outs(&lock, SECOND * 3).await {
            assert_eq!(error.kind(), kind, "{}", shown(&error));
            assert!(error.source().is_some());
        }
        execute(&witness, &format!("ALTER ROLE limited {undo}")).await;
        soon("there is room", async { while manager.check().await.is_err() {} }).await;
    }
}

pub async fn idle_manager_reconnects_by_itself(lab: &Lab) {
    let server = TestServer::private().await.unwrap();
    let manager = lab.manager_at(server.url(), &Options::default()).unwrap();
    assert!(!manager.stats().connected);
    manager.lock("key").write().await.unwrap().release().await.unwrap();
    let stats = manager.stats();
    assert!(stats.connected && stats.last_heartbeat.is_some(), "{stats:?}");
    let begin = Instant::now();
    server.stop(StopMode::Fast).await.unwrap();
    lab.until("the loss is known", || manager.stats().down_for.is_some()).await;
    sleep(SECOND * 2).await;
    let stats = manager.stats();
    assert!(!stats.connected && stats.sessions == 0, "{stats:?}");
    assert!(stats.last_heartbeat.unwrap() >= SECOND * 2, "{stats:?}");
    assert!(stats.down_for.unwrap() >= SECOND * 2, "{stats:?}");
    assert!(stats.down_for.unwrap() <= begin.elapsed() + SECOND, "{stats:?}");
    let begin = Instant::now();
    server.start().await.unwrap();
    lab.until("it has reconnected", || manager.stats().connected).await;
    let stats = manager.stats();
    assert!(stats.last_heartbeat.unwrap() <= begin.elapsed(), "{stats:?}");
    lab.until("the outage is over", || manager.stats().down_for.is_none()).await;
    // The session that it only compares with is closed in the background.
    connect(server.url()).await.until_sessions("pglock", 1).await.unwrap();
}

/// In a process of its own, because the listener hears all of it.
pub async fn outage_is_logged_once_and_so_is_its_end(lab: &Lab) {
    if !lab.is_child() {
        drop(lab.start_process());
        return;
    }
    let listener = Listener::start();
    tracing::subscriber::set_global_default(listener.clone()).unwrap();
    let warnings = |words: &str| {
        let all = listener.warnings();
        let is_meant = |text: &&String| text.contains(words);
        all.iter().filter(is_meant).cloned().collect::<Vec<_>>()
    };
    let server = TestServer::private().await.unwrap();
    let manager = lab.manager_at(server.url(), &Options::default()).unwrap();
    let lock = manager.lock("key");
    lock.write().await.unwrap().release().await.unwrap();
    let pid = connect(server.url()).await.sessions("pglock").await.unwrap()[0];
    server.stop(StopMode::Fast).await.unwrap();
    lab.until("the outage is logged", || !warnings("connection to the server lost").is_empty())
        .await;
    for _ in 0..4 {
        lock.try_write().await.unwrap_err();
    }
    let lost = warnings("connection to the server lost");
    assert_eq!(lost.len(), 1, "{lost:#?}");
    assert!(lost[0].contains(&format!("pid={pid}")), "{lost:?}");
    assert!(lost[0].contains("can be reached: "), "what the client said: {lost:?}");
    assert!(warnings("the server is back").is_empty());
    server.start().await.unwrap();
    lab.until("the end is logged", || !warnings("the server is back").is_empty()).await;
    let pid = connect(server.url()).await.sessions("pglock").await.unwrap()[0];
    let back = warnings("the server is back");
    assert!(back[0].contains(&format!("pid={pid}")) && back[0].contains("down_for="), "{back:?}");

    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("postgres://test:test@127.0.0.1:{port}/pglock");
    let nowhere = lab.manager_at(&url, &Options::default()).unwrap();
    for _ in 0..3 {
        nowhere.lock("key").write().await.unwrap_err();
    }
    let unreachable = warnings("cannot be reached");
    assert_eq!(unreachable.len(), 1, "{unreachable:#?}");
    assert_eq!((warnings("to the server lost").len(), warnings("is back").len()), (1, 1));
    lab.ready().await;
}

pub async fn check_connects_and_succeeds_if_locks_are_available(lab: &Lab) {
    let manager = lab.manager();
    soon("the check", manager.check()).await.unwrap();
    assert!(manager.stats().connected);
    let guard = manager.lock("key").write().await.unwrap();
    soon("the check", manager.check()).await.unwrap();
    assert!(guard.is_held() && manager.stats().held == 1);
    guard.release().await.unwrap();
    manager.close().await.unwrap();
    assert_eq!(manager.check().await.unwrap_err().kind(), ErrorKind::Closed);
}

pub async fn check_fails_while_the_server_refuses_it(lab: &Lab) {
    let faults = Faults::new();
    let options = Options { faults: Some(faults.clone()), ..Options::default() };
    let manager = lab.manager_with(&options);
    let guard = manager.lock("key").write().await.unwrap();
    faults.strike(Point::Ping, Fault::Refused { done: false });
    assert_eq!(manager.check().await.unwrap_err().kind(), ErrorKind::Driver);
    faults.clear();
    manager.check().await.unwrap();
    assert!(guard.is_held());
    // Dropped while it is under way.
    faults.strike(Point::Ping, Fault::Silence { done: false });
    assert!(tokio::time::timeout(SECOND / 20, manager.check()).await.is_err());
    faults.clear();
    soon("the check", manager.check()).await.unwrap();
    guard.release().await.unwrap();
}
