//! The cases. Each has a database of its own.

// Cases are tests: they end by a panic that says what is wrong.
#![allow(clippy::missing_panics_doc, clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use pglock_core::Mode::{Read, Write};
use pglock_core::{ErrorKind, LockKey};
use tokio::time::timeout;

use super::Patience::{Try, TryAtAnyIsolation, Wait, WaitFor};
use super::{Client, Site};
use crate::faults::{PgBouncer, PoolMode, Standby, allowed};
use crate::postgres::{TestServer, connect};
use crate::witness::{PostgresWitness, Witness};

/// Long enough for a loaded machine, too short for a wait that was cut.
const SOON: Duration = Duration::from_secs(30);

async fn begin<C: Client>(site: &Site) -> C {
    begin_at::<C>(site.database.url()).await
}

async fn begin_at<C: Client>(url: &str) -> C {
    let mut tx = C::connect(url).await.unwrap();
    tx.begin().await.unwrap();
    tx
}

async fn setting<C: Client>(tx: &mut C, name: &str) -> String {
    tx.value(&format!("SELECT current_setting('{name}')")).await.unwrap()
}

pub async fn commit_and_rollback_release<C: Client>(site: Site) {
    let key = LockKey::from("key");
    for commits in [true, false] {
        let mut tx = begin::<C>(&site).await;
        assert!(tx.lock("key".into(), Write, Try).await.unwrap());
        assert_eq!(site.witness.holders(key).await.unwrap().len(), 1);
        match commits {
            true => tx.commit().await.unwrap(),
            false => tx.roll_back().await.unwrap(),
        }
        assert!(site.witness.holders(key).await.unwrap().is_empty());
    }
}

pub async fn transactions_and_guards_exclude_each_other<C: Client>(site: Site) {
    let key = LockKey::from("key");
    // The lock of a guard is one of a session.
    site.witness.hold(key, Write).await.unwrap();
    let mut tx = begin::<C>(&site).await;
    assert!(!tx.lock("key".into(), Read, Try).await.unwrap());
    assert!(site.witness.release(key, Write).await.unwrap());
    assert!(tx.lock("key".into(), Write, Try).await.unwrap());
    let other = connect(site.database.url()).await.unwrap();
    let row = other.query_one("SELECT pg_try_advisory_lock($1)", &[&bits(key)]).await.unwrap();
    assert!(!row.get::<_, bool>(0));
    tx.commit().await.unwrap();
}

fn bits(key: LockKey) -> i64 {
    key.as_bigint().unwrap()
}

pub async fn readers_share_and_exclude_writers<C: Client>(site: Site) {
    let (mut a, mut b, mut c) =
        (begin::<C>(&site).await, begin::<C>(&site).await, begin::<C>(&site).await);
    assert!(a.lock("key".into(), Read, Try).await.unwrap());
    assert!(b.lock("key".into(), Read, Wait).await.unwrap());
    assert!(!c.lock("key".into(), Write, Try).await.unwrap());
    // A transaction may take what it has once more, and the other mode if it is alone.
    assert!(a.lock("key".into(), Read, Try).await.unwrap());
    b.commit().await.unwrap();
    assert!(a.lock("key".into(), Write, Try).await.unwrap());
}

pub async fn pairs_and_negative_keys_are_keys_of_their_own<C: Client>(site: Site) {
    let mut tx = begin::<C>(&site).await;
    let keys = [LockKey::from(-42), LockKey::from((5, -7)), LockKey::from((-5, 7))];
    for key in keys {
        assert!(tx.lock(key.into(), Write, Try).await.unwrap());
        assert_eq!(site.witness.holders(key).await.unwrap().len(), 1, "{key:?}");
    }
    let mut other = begin::<C>(&site).await;
    for key in keys {
        assert!(!other.lock(key.into(), Write, Try).await.unwrap());
    }
    assert!(other.lock(LockKey::from((7, -5)).into(), Write, Try).await.unwrap());
}

pub async fn busy_try_leaves_no_trace<C: Client>(site: Site) {
    site.witness.hold("key".into(), Write).await.unwrap();
    let mut tx = begin::<C>(&site).await;
    tx.execute("SET LOCAL lock_timeout = '7s'").await.unwrap();
    assert!(!tx.lock("key".into(), Write, Try).await.unwrap());
    assert_unharmed(&site, &mut tx).await;
    assert_eq!(setting(&mut tx, "lock_timeout").await, "7s");
}

pub async fn timed_out_wait_leaves_no_trace<C: Client>(site: Site) {
    site.witness.hold("key".into(), Write).await.unwrap();
    for mode in [Read, Write] {
        let mut tx = begin::<C>(&site).await;
        tx.execute("SET LOCAL lock_timeout = '7s'").await.unwrap();
        tx.execute("SET LOCAL statement_timeout = '33s'").await.unwrap();
        tx.execute("CREATE TEMP TABLE t AS SELECT 1 AS n").await.unwrap();
        let wait = tx.lock("key".into(), mode, WaitFor(Duration::from_millis(80))).await;
        let error = wait.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
        assert_eq!(error.key(), Some("key".into()));
        assert_unharmed(&site, &mut tx).await;
        assert_eq!(setting(&mut tx, "lock_timeout").await, "7s");
        assert_eq!(setting(&mut tx, "statement_timeout").await, "33s");
        // What was done before the wait is still there.
        assert_eq!(tx.value("SELECT n::text FROM t").await.unwrap(), "1");
        // No savepoint is left either.
        assert!(tx.execute("RELEASE SAVEPOINT pglock").await.is_err());
    }
    let mut tx = begin::<C>(&site).await;
    let error = tx.lock("key".into(), Write, WaitFor(Duration::ZERO)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

/// The transaction goes on, and neither holds the key nor waits for it.
async fn assert_unharmed<C: Client>(site: &Site, tx: &mut C) {
    assert_eq!(tx.value("SELECT 'fine'").await.unwrap(), "fine");
    let key = LockKey::from("key");
    assert_eq!(site.witness.holders(key).await.unwrap().len(), 1);
    assert!(site.witness.waiters(key).await.unwrap().is_empty());
}

pub async fn wait_ends_when_the_lock_is_free<C: Client>(site: Site) {
    for (mode, patience) in [(Write, Wait), (Read, Wait), (Write, WaitFor(SOON))] {
        site.witness.hold("key".into(), Write).await.unwrap();
        let mut tx = begin::<C>(&site).await;
        let wait = tokio::spawn(async move {
            tx.lock("key".into(), mode, patience).await.unwrap();
            tx
        });
        site.witness.until_waiting("key".into(), 1).await.unwrap();
        site.witness.release("key".into(), Write).await.unwrap();
        let mut tx = timeout(SOON, wait).await.unwrap().unwrap();
        assert_eq!(site.witness.holders("key".into()).await.unwrap().len(), 1);
        assert!(tx.execute("RELEASE SAVEPOINT pglock").await.is_err());
        tx.roll_back().await.unwrap();
    }
}

pub async fn wait_keeps_the_settings_of_the_transaction<C: Client>(site: Site) {
    site.witness.hold("key".into(), Write).await.unwrap();
    let mut tx = C::connect(site.database.url()).await.unwrap();
    tx.execute("SET lock_timeout = '9s'").await.unwrap();
    tx.begin().await.unwrap();
    tx.execute("SET LOCAL statement_timeout = '44s'").await.unwrap();
    let wait = tokio::spawn(async move {
        tx.lock("key".into(), Write, Wait).await.unwrap();
        tx
    });
    site.witness.until_waiting("key".into(), 1).await.unwrap();
    site.witness.release("key".into(), Write).await.unwrap();
    let mut tx = timeout(SOON, wait).await.unwrap().unwrap();
    assert_eq!(setting(&mut tx, "lock_timeout").await, "9s");
    assert_eq!(setting(&mut tx, "statement_timeout").await, "44s");
    tx.commit().await.unwrap();
    assert_eq!(setting(&mut tx, "lock_timeout").await, "9s");
    assert_eq!(setting(&mut tx, "statement_timeout").await, "0");
}

pub async fn statement_timeout_does_not_cut_a_wait<C: Client>(site: Site) {
    site.witness.hold("key".into(), Write).await.unwrap();
    let mut tx = begin::<C>(&site).await;
    for name in ["statement_timeout", "lock_timeout"] {
        tx.execute(&format!("SET LOCAL {name} = '60ms'")).await.unwrap();
    }
    let wait = tokio::spawn(async move { tx.lock("key".into(), Write, Wait).await });
    site.witness.until_waiting("key".into(), 1).await.unwrap();
    // Several times as long as the two, and longer than a slice of the wait.
    tokio::time::sleep(Duration::from_millis(2300)).await;
    site.witness.until_waiting("key".into(), 1).await.unwrap();
    site.witness.release("key".into(), Write).await.unwrap();
    assert!(timeout(SOON, wait).await.unwrap().unwrap().unwrap());
}

pub async fn outside_a_transaction_is_refused<C: Client>(site: Site) {
    let mut connection = C::connect(site.database.url()).await.unwrap();
    for patience in [Try, Wait, WaitFor(SOON), TryAtAnyIsolation] {
        let error = connection.lock("key".into(), Write, patience).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOptions, "{error:?}");
    }
    assert!(site.witness.holders("key".into()).await.unwrap().is_empty());
}

pub async fn old_snapshot_is_refused_unless_allowed<C: Client>(site: Site) {
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let mut tx = begin::<C>(&site).await;
        tx.execute(&format!("SET TRANSACTION ISOLATION LEVEL {level}")).await.unwrap();
        for patience in [Try, Wait] {
            let error = tx.lock("key".into(), Write, patience).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidOptions, "{error:?}");
            assert!(error.to_string().contains("READ COMMITTED"), "{error}");
        }
        assert!(site.witness.holders("key".into()).await.unwrap().is_empty());
        assert!(tx.lock("key".into(), Write, TryAtAnyIsolation).await.unwrap());
        tx.roll_back().await.unwrap();
    }
}

pub async fn deadlock_with_rows_is_a_deadlock<C: Client>(site: Site) {
    let mut setup = C::connect(site.database.url()).await.unwrap();
    setup.execute("CREATE TABLE t AS SELECT 1 AS n").await.unwrap();
    let (mut a, mut b) = (begin::<C>(&site).await, begin::<C>(&site).await);
    assert!(a.lock("key".into(), Write, Try).await.unwrap());
    b.execute("UPDATE t SET n = 2").await.unwrap();
    let wait = tokio::spawn(async move {
        a.execute("UPDATE t SET n = 3").await.unwrap();
        a
    });
    // The server looks for deadlocks once per wait, so the wait of the row must have begun.
    let waits =
        "SELECT count(*)::text FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'";
    while setup.value(waits).await.unwrap() != "1" {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let error = timeout(SOON, b.lock("key".into(), Write, Wait)).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadlock, "{error:?}");
    // The transaction goes on, with what it had.
    assert_eq!(b.value("SELECT n::text FROM t").await.unwrap(), "2");
    b.roll_back().await.unwrap();
    timeout(SOON, wait).await.unwrap().unwrap().commit().await.unwrap();
}

pub async fn nested_rollback_releases<C: Client>(site: Site) {
    let mut tx = begin::<C>(&site).await;
    assert!(tx.lock("outer".into(), Write, Try).await.unwrap());
    for commits in [false, true] {
        tx.begin().await.unwrap();
        assert!(tx.lock("inner".into(), Write, Try).await.unwrap());
        match commits {
            true => tx.commit().await.unwrap(),
            false => tx.roll_back().await.unwrap(),
        }
        let holders = site.witness.holders("inner".into()).await.unwrap();
        assert_eq!(holders.len(), usize::from(commits));
    }
    assert_eq!(site.witness.holders("outer".into()).await.unwrap().len(), 1);
}

pub async fn refused_acquire_can_be_tried_again<C: Client>(site: Site) {
    site.witness.hold("key".into(), Write).await.unwrap();
    let mut tx = begin::<C>(&site).await;
    let rounds = if super::is_long() { 200 } else { 5 };
    for _ in 0..rounds {
        let wait = tx.lock("key".into(), Write, WaitFor(Duration::from_millis(5))).await;
        assert_eq!(wait.unwrap_err().kind(), ErrorKind::Timeout);
        assert!(!tx.lock("key".into(), Read, Try).await.unwrap());
    }
    site.witness.release("key".into(), Write).await.unwrap();
    assert!(tx.lock("key".into(), Write, WaitFor(SOON)).await.unwrap());
}

pub async fn dropped_wait_leaves_nothing_behind<C: Client>(site: Site) {
    site.witness.hold("key".into(), Write).await.unwrap();
    let mut tx = begin::<C>(&site).await;
    let wait = timeout(Duration::from_millis(100), tx.lock("key".into(), Write, Wait)).await;
    assert!(wait.is_err());
    drop(tx);
    // The server session ends at the latest when the slice is over, though the lock is still held.
    let key = LockKey::from("key");
    while !site.witness.waiters(key).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    site.witness.release(key, Write).await.unwrap();
    site.witness.until_free(key).await.unwrap();
}

pub async fn role_with_connect_only_can_lock<C: Client>(site: Site) {
    drop(site);
    // Roles belong to the whole server.
    let server = TestServer::private().await.unwrap();
    let admin = connect(server.url()).await.unwrap();
    let sql = "CREATE ROLE plain LOGIN; REVOKE ALL ON SCHEMA public FROM PUBLIC";
    admin.batch_execute(sql).await.unwrap();
    let url = server.url().replace("test:test@", "plain:x@");
    let (mut a, mut b) = (begin_at::<C>(&url).await, begin_at::<C>(&url).await);
    assert!(a.lock("key".into(), Write, Try).await.unwrap());
    let wait = b.lock("key".into(), Write, WaitFor(Duration::from_millis(30))).await;
    assert_eq!(wait.unwrap_err().kind(), ErrorKind::Timeout);
    a.commit().await.unwrap();
    assert!(b.lock("key".into(), Write, Wait).await.unwrap());
}

pub async fn standby_is_refused<C: Client>(site: Site) {
    drop(site);
    let primary = TestServer::private().await.unwrap();
    let standby = allowed("standby_is_refused", Standby::of(&primary).await).unwrap();
    let Some(standby) = standby else { return };
    let mut tx = begin_at::<C>(standby.server().url()).await;
    let error = tx.lock("key".into(), Write, Try).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedServer, "{error:?}");
}

pub async fn locks_work_behind_a_transaction_pooler<C: Client>(site: Site) {
    let pooler = PgBouncer::start(&site.server, PoolMode::Transaction).await;
    let pooler = allowed("locks_work_behind_a_transaction_pooler", pooler).unwrap();
    let Some(pooler) = pooler else { return };
    let witness = PostgresWitness::connect(site.server.url()).await.unwrap();
    let key = LockKey::from("transactions behind a pooler");
    let (mut a, mut b) =
        (C::connect(pooler.url()).await.unwrap(), C::connect(pooler.url()).await.unwrap());
    for _ in 0..5 {
        a.begin().await.unwrap();
        b.begin().await.unwrap();
        assert!(a.lock(key.into(), Write, Wait).await.unwrap());
        assert!(!b.lock(key.into(), Write, Try).await.unwrap());
        let wait = b.lock(key.into(), Write, WaitFor(Duration::from_millis(30))).await;
        assert_eq!(wait.unwrap_err().kind(), ErrorKind::Timeout);
        a.commit().await.unwrap();
        assert!(b.lock(key.into(), Write, Wait).await.unwrap());
        b.commit().await.unwrap();
        assert!(witness.holders(key).await.unwrap().is_empty());
    }
}
