//! What is left of a lock when its transaction fails, and what the connection is like afterwards.

use std::time::Duration;

use pglock_core::Mode::{Read, Write};
use pglock_core::{ErrorKind, FencingToken};

use super::begin;
use crate::transactions::Patience::{Try, TryAtAnyIsolation, Wait, WaitFor};
use crate::transactions::{Client, Site};
use crate::witness::Witness;

const SOME_TIME: Duration = Duration::from_millis(20);

async fn holders(site: &Site, key: &str) -> usize {
    site.witness.holders(key.into()).await.unwrap().len()
}

/// At once, and not only when the transaction is rolled back.
pub async fn lock_ends_when_its_transaction_fails<C: Client>(site: Site) {
    let mut tx = begin::<C>(&site).await;
    assert!(tx.lock("key".into(), Write, Try).await.unwrap());
    assert_eq!(holders(&site, "key").await, 1);
    // The server reports the error first.
    tx.execute("SELECT 1/0").await.unwrap_err();
    site.witness.until_free("key".into()).await.unwrap();
    // It cannot go on, and says so.
    for patience in [Try, TryAtAnyIsolation, Wait, WaitFor(SOME_TIME)] {
        let error = tx.lock("other".into(), Write, patience).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Driver, "{error:?}");
    }
    tx.roll_back().await.unwrap();
    assert_eq!(site.witness.locks().await.unwrap(), []);
    tx.begin().await.unwrap();
    assert!(tx.lock("key".into(), Write, Wait).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(holders(&site, "key").await, 0);
}

pub async fn lock_outlives_a_nested_transaction_that_fails<C: Client>(site: Site) {
    let mut tx = begin::<C>(&site).await;
    assert!(tx.lock("outer".into(), Write, Try).await.unwrap());
    for patience in [Try, Wait, WaitFor(SOME_TIME)] {
        tx.begin().await.unwrap();
        assert!(tx.lock("inner".into(), Write, patience).await.unwrap());
        assert_eq!(holders(&site, "inner").await, 1);
        tx.execute("SELECT 1/0").await.unwrap_err();
        site.witness.until_free("inner".into()).await.unwrap();
        tx.roll_back().await.unwrap();
        assert_eq!(holders(&site, "outer").await, 1);
    }
    tx.commit().await.unwrap();
    assert_eq!(holders(&site, "outer").await, 0);
}

/// The release of a guard does not depend on the transaction that it has fenced.
pub async fn guard_of_a_failed_transaction_is_released<C: Client>(site: Site) {
    let guard = site.locks::<C>().rwlock("key").write().await.unwrap();
    let mut tx = begin::<C>(&site).await;
    guard.fence(tx.locks().await).await.unwrap();
    tx.execute("SELECT 1/0").await.unwrap_err();
    guard.fence(tx.locks().await).await.unwrap_err();
    assert!(guard.is_held());
    guard.release().await.unwrap();
    assert_eq!(holders(&site, "key").await, 0);
    tx.roll_back().await.unwrap();
    assert_eq!(site.witness.locks().await.unwrap(), []);
}

/// Whatever comes of an acquire or a fence, and however the transaction ends.
pub async fn connection_comes_back_as_it_was<C: Client>(site: Site) {
    site.witness.client().batch_execute(FencingToken::TABLE).await.unwrap();
    site.witness.hold("busy".into(), Write).await.unwrap();
    let guard = site.locks::<C>().rwlock("guarded").write().await.unwrap();
    let token = guard.fencing_token().await.unwrap();
    let mut tx = C::connect(site.database.url()).await.unwrap();
    tx.execute("SET lock_timeout = '7s'").await.unwrap();
    tx.execute("SET statement_timeout = '33s'").await.unwrap();
    let pid = tx.value("SELECT pg_backend_pid()::text").await.unwrap();
    let before = settings(&mut tx).await;
    for commits in [true, false] {
        for key in ["free", "busy"] {
            for patience in [Try, TryAtAnyIsolation, WaitFor(Duration::ZERO), WaitFor(SOME_TIME)] {
                for mode in [Read, Write] {
                    tx.begin().await.unwrap();
                    let taken = tx.lock(key.into(), mode, patience).await;
                    assert_eq!(taken.is_ok_and(|taken| taken), key == "free");
                    end(&mut tx, commits).await;
                }
            }
        }
        tx.begin().await.unwrap();
        guard.fence(tx.locks().await).await.unwrap();
        tx.locks().await.check_token(token, "invoices").await.unwrap();
        end(&mut tx, commits).await;
        for patience in [Try, Wait, WaitFor(SOME_TIME)] {
            tx.lock("free".into(), Write, patience).await.unwrap_err();
            tx.begin().await.unwrap();
            tx.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").await.unwrap();
            tx.lock("free".into(), Write, patience).await.unwrap_err();
            end(&mut tx, commits).await;
        }
    }
    assert_eq!(settings(&mut tx).await, before);
    let states = "SELECT state FROM pg_stat_activity WHERE pid = $1";
    let pid: i32 = pid.parse().unwrap();
    let row = site.witness.client().query_one(states, &[&pid]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "idle", "no transaction is open");
    assert!(site.witness.locks().await.unwrap().iter().all(|row| row.pid != pid));
    site.witness.release("busy".into(), Write).await.unwrap();
}

/// All settings of the session.
async fn settings<C: Client>(tx: &mut C) -> String {
    tx.value("SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings")
        .await
        .unwrap()
}

async fn end<C: Client>(tx: &mut C, commits: bool) {
    match commits {
        true => tx.commit().await.unwrap(),
        false => tx.roll_back().await.unwrap(),
    }
}
