//! The store of slots over sqlx.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;

use pglock_sqlx::recipes::schedule::SlotStore;
use pglock_sqlx::sqlx::{PgPool, raw_sql};
use pglock_sqlx::{ErrorKind, LockProvider, Locks, SqlxDriver, SqlxSlots};
use pglock_testkit::postgres::TestServer;
use pglock_testkit::slots;

#[tokio::test]
async fn store_keeps_slots() {
    let database = TestServer::shared().await.unwrap().database().await.unwrap();
    let pool = PgPool::connect(database.url()).await.unwrap();
    let store = Arc::new(SqlxSlots::new(pool.clone()));
    assert_eq!(store.look("job").await.unwrap_err().kind(), ErrorKind::Driver, "no table");
    for _ in 0..2 {
        raw_sql(SqlxSlots::TABLE).execute(&pool).await.unwrap();
    }
    slots::check(store).await;
}

#[cfg(unix)]
fn join(url: &str) -> (Arc<dyn LockProvider>, Arc<dyn SlotStore>) {
    let pool = PgPool::connect_lazy(url).unwrap();
    let locks = Locks::new(SqlxDriver::from_pool(&pool));
    (Arc::new(locks), Arc::new(SqlxSlots::new(pool)))
}

/// In processes of their own, some of which are killed.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn replicas_run_slots_as_promised() {
    slots::prove("replicas_run_slots_as_promised", join).await;
}
