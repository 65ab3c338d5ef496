//! Limits of the server and of the manager: what they refuse, and what continues.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use pglock_core::{Error, ErrorKind, Mode, WriteGuard};
use tokio::time::{Instant, sleep};

use super::{SMALL_TABLE, as_role, connect, execute, fill_lock_table, lease, leased};
use crate::conformance::{Lab, Manager, Options, group, soon, start};
use crate::postgres::TestServer;
use crate::witness::{PostgresWitness, Witness};

group! { limits:
    no_more_locks_are_held_than_allowed,
    no_more_callers_wait_than_allowed,
    full_lock_table_is_reported_and_takes_no_lock_away: Postgres,
    locks_at_the_cap_leave_room_for_other_users: Postgres,
    connection_limit_of_the_role_is_kept: Postgres,
    full_server_is_reported_and_takes_no_lock_away: Postgres,
}

pub async fn no_more_locks_are_held_than_allowed(lab: &Lab) {
    let manager = lab.manager_with(&Options { max_locks: Some(5), ..Options::default() });
    let mut held = Vec::new();
    for key in 1..5_i64 {
        held.push(manager.lock(key).write().await.unwrap());
    }
    let reader = manager.lock("read").read().await.unwrap();
    assert_refused(&manager, ErrorKind::LockTableFull).await;
    let errors = refusals_at_once(&manager).await;
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::LockTableFull), "{errors:?}");
    assert_eq!(lab.witness().locks().await.unwrap().len(), 5);
    // Sharing takes no further lock at the server.
    let fellow = soon("the readers share", manager.lock("read").read()).await.unwrap();
    lab.lock("beyond").write().await.unwrap().release().await.unwrap();
    drop((reader, fellow));
    held.push(soon("there is room", manager.lock("beyond").write()).await.unwrap());
    assert!(held.iter().all(WriteGuard::is_held));
}

pub async fn no_more_callers_wait_than_allowed(lab: &Lab) {
    let witness = lab.witness();
    let manager = lab.manager_with(&Options { max_waiters: Some(3), ..Options::default() });
    let guard = manager.lock("held").write().await.unwrap();
    witness.hold("busy".into(), Mode::Write).await.unwrap();
    let mut waits = Vec::new();
    for _ in 0..3 {
        let lock = manager.lock("busy");
        waits.push(start(async move { lock.write().await.map(drop) }));
    }
    lab.until_queued(&manager, 3).await;
    assert_refused(&manager, ErrorKind::TooManyWaiters).await;
    // A refused caller takes no place, and a caller that leaves makes room.
    assert_eq!(manager.stats().waiting, 3);
    waits.remove(1).abort();
    lab.until_queued(&manager, 2).await;
    manager.lock("other").write().await.unwrap().release().await.unwrap();
    witness.release("busy".into(), Mode::Write).await.unwrap();
    for wait in waits {
        soon("the lock is free", wait).await.unwrap().unwrap();
    }
    assert!(guard.is_held());
    guard.release().await.unwrap();
}

pub async fn full_lock_table_is_reported_and_takes_no_lock_away(lab: &Lab) {
    let server = TestServer::private_with(&SMALL_TABLE).await.unwrap();
    let witness = connect(server.url()).await;
    execute(&witness, "CREATE ROLE greedy LOGIN").await;
    let greedy = connect(&as_role(server.url(), "greedy")).await;
    let manager = lab.manager_at(server.url(), &leased()).unwrap();
    let write = manager.lock("write").write().await.unwrap();
    let read = manager.lock("read").read().await.unwrap();
    let waited = waited_for(&witness, &manager).await;

    fill_lock_table(&greedy).await;
    assert_refused(&manager, ErrorKind::LockTableFull).await;
    let errors = refusals_at_once(&manager).await;
    assert!(errors.iter().all(is_refused_by_server), "{errors:?}");
    let newcomer = lab.manager_at(server.url(), &Options::default()).unwrap();
    assert_refused(&newcomer, ErrorKind::LockTableFull).await;

    assert_kept(&manager, || write.is_held() && read.is_held() && waited.is_held()).await;
    assert_eq!(manager.stats().losses, 0);
    waited.release().await.unwrap();
    // Uses the place that became free.
    let next = manager.lock("next").write().await.unwrap();
    for release in [write.release().await, read.release().await, next.release().await] {
        release.unwrap();
    }
    execute(&greedy, "SELECT pg_catalog.pg_advisory_unlock_all()").await;
    drop(soon("there is room", newcomer.lock("write").write()).await.unwrap());
}

pub async fn locks_at_the_cap_leave_room_for_other_users(lab: &Lab) {
    let server = TestServer::private_with(&SMALL_TABLE).await.unwrap();
    let other = connect(server.url()).await;
    let tables: Vec<_> = (0..40).map(|number| format!("t{number}")).collect();
    for table in &tables {
        execute(&other, &format!("CREATE TABLE {table} (id integer)")).await;
    }
    let query = format!("SELECT id FROM {}", tables.join(" UNION ALL SELECT id FROM "));

    let modest = lab.manager_at(server.url(), &Options::default()).unwrap();
    let (held, error) = take_all(&modest, 1).await;
    println!("refused with {} locks", held.len());
    // 15 % of 10 × 20.
    assert_eq!((held.len(), error.kind()), (30, ErrorKind::LockTableFull));
    assert!(error.source().is_none(), "the server was not asked: {error:?}");
    execute(&other, &query).await;

    // Without the cap, the query fails, which shows that it needs the table.
    let options = Options { max_locks: Some(100_000), ..Options::default() };
    let greedy = lab.manager_at(server.url(), &options).unwrap();
    let (taken, error) = take_all(&greedy, 2).await;
    println!("the table was full with {} more", taken.len());
    assert!(is_refused_by_server(&error), "{error:?}");
    let error = other.client().batch_execute(&query).await.unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("53200"), "{error}");
    drop(taken);
    greedy.close().await.unwrap();
    execute(&other, &query).await;
    assert!(held.iter().all(WriteGuard::is_held));
}

pub async fn connection_limit_of_the_role_is_kept(lab: &Lab) {
    let server = TestServer::private_with(&[("log_connections", "on")]).await.unwrap();
    let witness = connect(server.url()).await;
    execute(&witness, "CREATE ROLE limited LOGIN CONNECTION LIMIT 2").await;
    let url = as_role(server.url(), "limited");
    let manager = lab.manager_at(&url, &leased()).unwrap();
    let held = manager.lock("held").write().await.unwrap();
    let mut waits = Vec::new();
    for key in 0..6_i64 {
        witness.hold(key.into(), Mode::Write).await.unwrap();
        let lock = manager.lock(key);
        waits.push(start(async move { lock.write().await }));
    }
    lab.until_queued(&manager, 6).await;
    // One session waits; the server refuses the others. At first it may refuse even this one, while
    // the connection used for the comparison closes.
    lab.until("no more room", || manager.stats().sessions == 2 && refusals(&server) > 0).await;
    let newcomer = lab.manager_at(&url, &Options::default()).unwrap();
    assert_refused(&newcomer, ErrorKind::TooManyConnections).await;
    drop(newcomer);

    let (before, begin) = (refusals(&server), Instant::now());
    assert_kept(&manager, || held.is_held() && manager.stats().sessions == 2).await;
    let (made, time) = (refusals(&server) - before, begin.elapsed());
    println!("{made} connections refused in {time:.1?}");
    // The first pauses are short; the longest is at least 0.4 s.
    assert!(made as f64 <= 8.0 + time.as_secs_f64() / 0.4, "{made} in {time:?}");

    let mut granted = Vec::new();
    for (key, wait) in waits.into_iter().enumerate() {
        witness.release((key as i64).into(), Mode::Write).await.unwrap();
        granted.push(soon("the lock is free", wait).await.unwrap().unwrap());
    }
    assert!(granted.iter().all(WriteGuard::is_held));
    held.release().await.unwrap();
    // Enough for everything that the first manager may still open.
    execute(&witness, "ALTER ROLE limited CONNECTION LIMIT 10").await;
    let third = lab.manager_at(&url, &Options::default()).unwrap();
    drop(soon("there is room", third.lock("held").write()).await.unwrap());
}

pub async fn full_server_is_reported_and_takes_no_lock_away(lab: &Lab) {
    let server = TestServer::private_with(&[("max_connections", "12")]).await.unwrap();
    let witness = connect(server.url()).await;
    execute(&witness, "CREATE ROLE plain LOGIN").await;
    let url = as_role(server.url(), "plain");
    let manager = lab.manager_at(&url, &leased()).unwrap();
    let held = manager.lock("held").write().await.unwrap();
    // The session that the manager only compares with is closed in the background.
    witness.until_sessions("pglock", 1).await.unwrap();
    let others = fill_server(&witness, &url, 12 - 3).await;
    let newcomer = lab.manager_at(&url, &Options::default()).unwrap();
    assert_refused(&newcomer, ErrorKind::TooManyConnections).await;
    // It has no session to wait in, but waits anyway.
    witness.hold("busy".into(), Mode::Write).await.unwrap();
    let lock = manager.lock("busy");
    let wait = start(async move { lock.write().await });
    lab.until_queued(&manager, 1).await;
    assert_kept(&manager, || held.is_held()).await;
    manager.lock("free").write().await.unwrap().release().await.unwrap();
    witness.release("busy".into(), Mode::Write).await.unwrap();
    soon("the lock is free", wait).await.unwrap().unwrap().release().await.unwrap();
    held.release().await.unwrap();
    assert_eq!(manager.stats().losses, 0);
    drop(others);
    soon("there is room", async {
        while newcomer.lock("key").try_write().await.is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Opens sessions until this many are open. A session that is being closed leaves room late.
async fn fill_server(witness: &PostgresWitness, url: &str, room: i64) -> Vec<PostgresWitness> {
    let query = "SELECT count(*) FROM pg_catalog.pg_stat_activity \
                 WHERE backend_type = 'client backend' AND usename IS NOT NULL";
    let mut others = Vec::new();
    soon("the server is full", async {
        while witness.client().query_one(query, &[]).await.unwrap().get::<_, i64>(0) < room {
            others.extend(PostgresWitness::connect(url).await);
        }
    })
    .await;
    others
}

/// A guard whose lock was granted to a waiting session, which therefore holds it.
async fn waited_for(witness: &PostgresWitness, manager: &Arc<dyn Manager>) -> WriteGuard {
    witness.hold("waited for".into(), Mode::Write).await.unwrap();
    let lock = manager.lock("waited for");
    let wait = start(async move { lock.write().await });
    witness.until_waiting("waited for".into(), 1).await.unwrap();
    witness.release("waited for".into(), Mode::Write).await.unwrap();
    soon("the lock is free", wait).await.unwrap().unwrap()
}

/// Every way to ask for a free key is refused at once.
async fn assert_refused(manager: &Arc<dyn Manager>, kind: ErrorKind) {
    let lock = manager.lock("refused");
    let long = Duration::from_secs(60);
    let errors = [
        soon("try_write", lock.try_write()).await.map(drop).unwrap_err(),
        soon("write", lock.write()).await.map(drop).unwrap_err(),
        soon("try_write_for", lock.try_write_for(long)).await.map(drop).unwrap_err(),
        soon("try_read", lock.try_read()).await.map(drop).unwrap_err(),
        soon("read", lock.read()).await.map(drop).unwrap_err(),
        soon("try_read_for", lock.try_read_for(long)).await.map(drop).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), kind, "{error:?}");
    }
}

/// The results of twenty callers that ask for as many keys at the same time.
async fn refusals_at_once(manager: &Arc<dyn Manager>) -> Vec<Error> {
    let calls: Vec<_> = (0..20)
        .map(|key| {
            let lock = manager.lock((7, key));
            start(async move { lock.write().await.map(drop) })
        })
        .collect();
    let mut errors = Vec::new();
    for call in calls {
        errors.push(soon("the refusal", call).await.unwrap().unwrap_err());
    }
    errors
}

/// Takes keys that begin with `first` until it is refused.
async fn take_all(manager: &Arc<dyn Manager>, first: i32) -> (Vec<WriteGuard>, Error) {
    let mut held = Vec::new();
    for second in 0..50_000 {
        match manager.lock((first, second)).write().await {
            Ok(guard) => held.push(guard),
            Err(error) => return (held, error),
        }
    }
    panic!("there is no end of it");
}

/// Two leases long, so heartbeats continue meanwhile.
async fn assert_kept(manager: &Arc<dyn Manager>, is_kept: impl Fn() -> bool) {
    let guards = lease().1;
    let end = Instant::now() + guards * 2;
    while Instant::now() < end {
        assert!(is_kept());
        assert!(manager.stats().last_heartbeat.unwrap() < guards);
        sleep(guards / 50).await;
    }
}

/// Refused by the server, not by the manager, whose own refusal has no source.
fn is_refused_by_server(error: &Error) -> bool {
    error.kind() == ErrorKind::LockTableFull && error.source().is_some()
}

fn refusals(server: &TestServer) -> usize {
    server.log().unwrap().matches("too many connections for role").count()
}
