//! What only a real server can show: its settings, restarts, refusals, logs, and the races with its answers.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::error::Error as StdError;
use std::fmt::Write as _;

use pglock_sqlx::{Error, LockKey, Locks};
use pglock_testkit::postgres::{TestDatabase, TestServer};
use pglock_testkit::witness::{PostgresWitness, Witness};

#[path = "postgres/cancels.rs"]
mod cancels;
#[path = "postgres/loads.rs"]
mod loads;
#[path = "postgres/moving.rs"]
mod moving;
#[path = "postgres/outages.rs"]
mod outages;
#[path = "postgres/refusals.rs"]
mod refusals;
#[path = "postgres/secrets.rs"]
mod secrets;
#[path = "postgres/settings.rs"]
mod settings;
#[path = "postgres/source.rs"]
mod source;

async fn database() -> TestDatabase {
    TestServer::shared().await.unwrap().database().await.unwrap()
}

async fn witness(url: &str) -> PostgresWitness {
    PostgresWitness::connect(url).await.unwrap()
}

fn locks(url: &str) -> Locks {
    Locks::from_url(url).unwrap()
}

/// A manager whose sessions have a name.
fn named(url: &str, name: &str) -> Locks {
    let driver = url.parse::<pglock_sqlx::SqlxDriver>().unwrap();
    Locks::builder(driver).application_name(name).build().unwrap()
}

async fn execute(witness: &PostgresWitness, sql: &str) {
    witness.client().batch_execute(sql).await.unwrap();
}

/// Two managers exclude each other, as the witness sees it too.
async fn assert_excluding(witness: &PostgresWitness, a: &Locks, b: &Locks) {
    let key = LockKey::from("excluded");
    let guard = a.rwlock(key).write().await.unwrap();
    assert_eq!(witness.holders(key).await.unwrap().len(), 1);
    assert!(b.rwlock(key).try_write().await.unwrap().is_none());
    assert!(b.rwlock(key).try_read().await.unwrap().is_none());
    let lock = b.rwlock(key);
    let wait = pglock_testkit::conformance::start(async move { lock.write().await });
    let waiter = witness.until_waiting(key, 1).await.unwrap()[0].pid;
    guard.release().await.unwrap();
    let guard = pglock_testkit::conformance::soon("the lock is free", wait).await.unwrap().unwrap();
    let holders = witness.holders(key).await.unwrap();
    assert_eq!(holders.iter().map(|row| row.pid).collect::<Vec<_>>(), [waiter]);
    assert!(a.rwlock(key).try_read().await.unwrap().is_none());
    guard.release().await.unwrap();
    witness.until_free(key).await.unwrap();
}

/// All that an error shows of itself and its causes.
fn shown(error: &Error) -> String {
    let mut text = String::new();
    let mut link: Option<&dyn StdError> = Some(error);
    while let Some(error) = link {
        writeln!(text, "{error}\n{error:?}\n{error:#?}").unwrap();
        link = error.source();
    }
    text
}
