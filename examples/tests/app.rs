//! One application on every backend: only the value that it stores differs.

use pglock_core::{Locks, Result};
use pglock_diesel::DieselDriver;
use pglock_examples::app::{self, App};
use pglock_sqlx::SqlxDriver;
use pglock_testkit::memory::{MemoryServer, memory};
use pglock_testkit::postgres::TestServer;

#[tokio::test]
async fn app_runs_in_memory() {
    app::run(memory()).await.expect("the scenario holds");
    let server = MemoryServer::new();
    excludes([Locks::new(server.driver()), Locks::new(server.driver())]).await;
}

#[tokio::test]
async fn app_runs_over_sqlx() {
    on_postgres(|url| Ok(Locks::new(SqlxDriver::from_url(url)?))).await;
}

#[tokio::test]
async fn app_runs_over_diesel() {
    on_postgres(|url| Ok(Locks::new(DieselDriver::from_url(url)?))).await;
}

async fn on_postgres(locks: fn(&str) -> Result<Locks>) {
    let server = TestServer::shared().await.unwrap_or_else(|error| panic!("{error}"));
    let database = server.database().await.expect("a database is made");
    let locks = || locks(database.url()).expect("the URL can be read");
    app::run(locks()).await.expect("the scenario holds");
    excludes([locks(), locks()]).await;
}

/// The applications of two processes.
async fn excludes(locks: [Locks; 2]) {
    let lock = locks[0].rwlock(app::key("carol"));
    let [here, there] = locks.map(App::new);
    let guard = lock.write().await.expect("the lock is free");
    for app in [&here, &there] {
        assert_eq!(app.settle("carol").await.ok(), Some(false));
    }
    guard.release().await.expect("the session lives");
    assert_eq!(there.settle("carol").await.ok(), Some(true));
}
