//! The store of slots over diesel-async.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;

use pglock_diesel::diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use pglock_diesel::recipes::schedule::SlotStore;
use pglock_diesel::{DieselDriver, DieselSlots, LockProvider, Locks};
use pglock_testkit::postgres::TestServer;
use pglock_testkit::slots;

#[tokio::test]
async fn store_keeps_slots() {
    let database = TestServer::shared().await.unwrap().database().await.unwrap();
    let store = Arc::new(DieselSlots::new(DieselDriver::from_url(database.url()).unwrap()));
    assert!(store.look("job").await.is_err(), "no table");
    let mut connection = AsyncPgConnection::establish(database.url()).await.unwrap();
    for _ in 0..2 {
        connection.batch_execute(DieselSlots::TABLE).await.unwrap();
    }
    slots::check(store).await;
}

#[cfg(unix)]
fn join(url: &str) -> (Arc<dyn LockProvider>, Arc<dyn SlotStore>) {
    let driver = DieselDriver::from_url(url).unwrap();
    (Arc::new(Locks::new(driver.clone())), Arc::new(DieselSlots::new(driver)))
}

/// In processes of their own, some of which are killed.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn replicas_run_slots_as_promised() {
    slots::prove("replicas_run_slots_as_promised", join).await;
}
