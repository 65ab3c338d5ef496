//! Checks of tokens: which of them pass, and in which order.

use std::time::Duration;

use pglock_core::{ErrorKind, FencingToken, Result, WriteGuard};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::super::{SOON, begin};
use super::{end_session, write};
use crate::transactions::{Client, Site};

const RESOURCE: &str = "invoices";

/// A guard that has been superseded, and its successor, each with its token.
pub(in super::super) async fn tokens<C: Client>(site: &Site) -> [(WriteGuard, FencingToken); 2] {
    let stale = write(&site.locks::<C>()).await;
    let old = stale.fencing_token().await.unwrap();
    end_session(&site.witness).await;
    let guard = write(&site.locks::<C>()).await;
    let new = guard.fencing_token().await.unwrap();
    [(stale, old), (guard, new)]
}

async fn check<C: Client>(tx: &mut C, token: FencingToken) -> Result<()> {
    tx.locks().await.check_token(token, RESOURCE).await
}

async fn make_table(site: &Site) {
    site.witness.client().batch_execute(FencingToken::TABLE).await.unwrap();
}

pub async fn stale_token_is_refused<C: Client>(site: Site) {
    make_table(&site).await;
    let stale = write(&site.locks::<C>()).await;
    let old = stale.fencing_token().await.unwrap();
    let mut tx = begin::<C>(&site).await;
    for _ in 0..2 {
        check(&mut tx, old).await.unwrap();
    }
    tx.commit().await.unwrap();
    end_session(&site.witness).await;
    let new = write(&site.locks::<C>()).await.fencing_token().await.unwrap();
    tx.begin().await.unwrap();
    check(&mut tx, new).await.unwrap();
    tx.commit().await.unwrap();
    tx.begin().await.unwrap();
    let error = check(&mut tx, old).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost, "{error:?}");
    tx.locks().await.check_token(old, "another resource").await.unwrap();
    tx.roll_back().await.unwrap();
    let error = check(&mut tx, new).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOptions, "outside a transaction: {error:?}");
}

/// A newer token is in a transaction that has not ended; the resource is new, and known.
pub async fn stale_token_waits_for_a_newer_one_and_is_refused<C: Client>(site: Site) {
    make_table(&site).await;
    let [(_stale, old), (_guard, new)] = tokens::<C>(&site).await;
    for commits in [false, true, true] {
        let mut newer = begin::<C>(&site).await;
        check(&mut newer, new).await.unwrap();
        let wait = start_check(&site, begin::<C>(&site).await, old).await;
        assert!(!wait.is_finished());
        match commits {
            true => newer.commit().await.unwrap(),
            false => newer.roll_back().await.unwrap(),
        }
        let (mut older, checked) = timeout(SOON, wait).await.unwrap().unwrap();
        let refused = checked.err().map(|error| error.kind());
        assert_eq!(refused, commits.then_some(ErrorKind::Lost));
        older.roll_back().await.unwrap();
    }
}

/// Returns when the check waits for another transaction to end.
async fn start_check<C: Client>(
    site: &Site,
    mut tx: C,
    token: FencingToken,
) -> JoinHandle<(C, Result<()>)> {
    let pid: i32 = tx.value("SELECT pg_backend_pid()::text").await.unwrap().parse().unwrap();
    let wait = tokio::spawn(async move {
        let checked = check(&mut tx, token).await;
        (tx, checked)
    });
    let waits =
        "SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid' AND pid = $1";
    let waiting = async {
        while site.witness.client().query(waits, &[&pid]).await.unwrap().is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, waiting).await.unwrap();
    wait
}

pub async fn token_check_at_an_old_snapshot_says_what_to_do<C: Client>(site: Site) {
    make_table(&site).await;
    let [(_stale, old), (_guard, new)] = tokens::<C>(&site).await;
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        for token in [old, new] {
            let mut tx = begin::<C>(&site).await;
            tx.execute(&format!("SET TRANSACTION ISOLATION LEVEL {level}")).await.unwrap();
            tx.value("SELECT 'this takes the snapshot'").await.unwrap();
            let mut other = begin::<C>(&site).await;
            check(&mut other, new).await.unwrap();
            other.commit().await.unwrap();
            let error = check(&mut tx, token).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Driver, "{error:?}");
            assert!(error.to_string().contains("roll this one back and repeat it"), "{error}");
            tx.roll_back().await.unwrap();
        }
    }
}

pub async fn token_check_without_its_table_says_how_to_make_it<C: Client>(site: Site) {
    let [_, (_guard, token)] = tokens::<C>(&site).await;
    let mut tx = begin::<C>(&site).await;
    for table in ["", "CREATE TABLE pglock_fence (token text)"] {
        tx.execute(table).await.unwrap();
        let error = check(&mut tx, token).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOptions, "{error:?}");
        assert!(error.to_string().contains("FencingToken::TABLE"), "{error}");
        tx.roll_back().await.unwrap();
        tx.begin().await.unwrap();
    }
    tx.execute(FencingToken::TABLE).await.unwrap();
    check(&mut tx, token).await.unwrap();
    tx.roll_back().await.unwrap();
}
