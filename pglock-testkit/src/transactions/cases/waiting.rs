//! Waits: what ends them, and what they leave behind.

use std::time::Duration;

use pglock_core::Mode::{Read, Write};
use pglock_core::{ErrorKind, LockKey};
use tokio::time::timeout;

use super::{SOON, assert_unharmed, begin, setting};
use crate::conformance::is_long;
use crate::transactions::Patience::{Try, Wait, WaitFor};
use crate::transactions::{Client, Site};
use crate::witness::Witness;

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
        tx.execute(&format!("SET LOCAL {name} = '600ms'")).await.unwrap();
    }
    let wait = tokio::spawn(async move { tx.lock("key".into(), Write, Wait).await });
    site.witness.until_waiting("key".into(), 1).await.unwrap();
    // Several times as long as both of them, and longer than a slice of the wait.
    tokio::time::sleep(Duration::from_millis(2300)).await;
    site.witness.until_waiting("key".into(), 1).await.unwrap();
    site.witness.release("key".into(), Write).await.unwrap();
    assert!(timeout(SOON, wait).await.unwrap().unwrap().unwrap());
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
    // The server checks for deadlocks once per wait, so the wait for the row must have begun.
    let waits =
        "SELECT count(*)::text FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'";
    while setup.value(waits).await.unwrap() != "1" {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let error = timeout(SOON, b.lock("key".into(), Write, Wait)).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadlock, "{error:?}");
    // The transaction continues, with what it holds.
    assert_eq!(b.value("SELECT n::text FROM t").await.unwrap(), "2");
    b.roll_back().await.unwrap();
    timeout(SOON, wait).await.unwrap().unwrap().commit().await.unwrap();
}

pub async fn refused_acquire_can_be_tried_again<C: Client>(site: Site) {
    site.witness.hold("key".into(), Write).await.unwrap();
    let mut tx = begin::<C>(&site).await;
    let rounds = if is_long() { 200 } else { 5 };
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
    // The server session ends by the end of the slice at the latest, although the lock is still
    // held.
    let key = LockKey::from("key");
    while !site.witness.waiters(key).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    site.witness.release(key, Write).await.unwrap();
    site.witness.until_free(key).await.unwrap();
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
        // What was done before the wait is kept.
        assert_eq!(tx.value("SELECT n::text FROM t").await.unwrap(), "1");
        // No savepoint is left either.
        assert!(tx.execute("RELEASE SAVEPOINT pglock").await.is_err());
    }
    let mut tx = begin::<C>(&site).await;
    let error = tx.lock("key".into(), Write, WaitFor(Duration::ZERO)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}
