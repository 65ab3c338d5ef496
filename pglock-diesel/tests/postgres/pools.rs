//! The driver connects as the pools do, but takes no connection from them.
#![cfg(any(feature = "bb8", feature = "deadpool", feature = "mobc"))]

use pglock_core::driver::{Driver, Session};
use pglock_diesel::diesel::{ConnectionError, ConnectionResult};
use pglock_diesel::diesel_async::pooled_connection::{
    self, AsyncDieselConnectionManager, ManagerConfig,
};
use pglock_diesel::diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use pglock_diesel::{DieselDriver, ErrorKind, Locks};
use pglock_testkit::conformance::soon;
use pglock_testkit::witness::Witness;

use crate::{database, witness};

/// Names its connections, as an example of a user's setup.
fn manager(url: &str) -> AsyncDieselConnectionManager<AsyncPgConnection> {
    let mut config = ManagerConfig::default();
    config.custom_setup = Box::new(|url| {
        let connection = AsyncPgConnection::establish(url);
        Box::pin(async move {
            let mut connection = connection.await?;
            let name = connection.batch_execute("SET application_name = 'hooked'").await;
            name.map_err(ConnectionError::CouldntSetupConfiguration)?;
            ConnectionResult::Ok(connection)
        })
    });
    AsyncDieselConnectionManager::new_with_config(url, config)
}

#[cfg(feature = "bb8")]
#[tokio::test]
async fn bb8_pool_lends_its_set_up_but_no_connection() {
    use pooled_connection::bb8::Pool;

    let database = database().await;
    let pool = Pool::builder().max_size(1).build(manager(database.url())).await.unwrap();
    let busy = pool.get_owned().await.unwrap();
    assert_lent(database.url(), DieselDriver::from_pool(&pool), 1).await;
    assert_eq!((pool.state().connections, pool.state().idle_connections), (1, 0));
    drop(busy);
    assert_told(|url| async move {
        DieselDriver::from_pool(&Pool::builder().build_unchecked(manager(&url)))
    })
    .await;
}

#[cfg(feature = "deadpool")]
#[tokio::test]
async fn deadpool_pool_lends_its_set_up_but_no_connection() {
    use pooled_connection::deadpool::Pool;

    let database = database().await;
    let pool = Pool::builder(manager(database.url())).max_size(1).build().unwrap();
    let busy = pool.get().await.unwrap();
    assert_lent(database.url(), DieselDriver::from_pool(&pool), 1).await;
    assert_eq!((pool.status().size, pool.status().available), (1, 0));
    drop(busy);
    pool.close();
    assert_lent(database.url(), DieselDriver::from_pool(&pool), 0).await;
    assert_told(|url| async move {
        DieselDriver::from_pool(&Pool::builder(manager(&url)).build().unwrap())
    })
    .await;
}

#[cfg(feature = "mobc")]
#[tokio::test]
async fn mobc_pool_lends_its_set_up_and_gives_connections_away() {
    use pooled_connection::mobc::Pool;

    let database = database().await;
    let pool = Pool::builder().max_open(1).build(manager(database.url()));
    assert_lent(database.url(), DieselDriver::from_pool(&pool), 0).await;
    assert_eq!(pool.state().await.connections, 0);
    drop(pool.get().await.unwrap());
    assert_told(
        |url| async move { DieselDriver::from_pool(&Pool::builder().build(manager(&url))) },
    )
    .await;
}

/// The driver sets up two sessions as the pool does, in addition to `others` of the pool itself,
/// and a lock manager works on it.
async fn assert_lent(url: &str, driver: DieselDriver, others: usize) {
    let witness = witness(url).await;
    let sessions = [driver.connect().await.unwrap(), driver.connect().await.unwrap()];
    // A session of a pool that was closed may still be ending.
    witness.until_sessions("hooked", others + 2).await.unwrap();
    for session in sessions {
        session.close().await;
    }
    let locks = Locks::new(driver);
    let guard = locks.rwlock("key").write().await.unwrap();
    assert_eq!(witness.holders("key".into()).await.unwrap().len(), 1);
    guard.release().await.unwrap();
    locks.close().await.unwrap();
}

/// The errors of the pool contain the server's reason.
async fn assert_told<C: Future<Output = DieselDriver>>(driver: impl FnOnce(String) -> C) {
    let database = database().await;
    let driver = driver(format!("{}_missing", database.url())).await;
    let error = soon("the refusal", Locks::new(driver).rwlock("key").write()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOptions, "{error:?}");
}
