//! The driver takes options from the application's pool, and nothing else.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::time::Duration;

use pglock_core::Mode;
use pglock_sqlx::sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use pglock_sqlx::sqlx::{PgPool, query, query_scalar};
use pglock_sqlx::{Locks, SqlxDriver};
use pglock_testkit::postgres::{TestDatabase, TestServer};
use pglock_testkit::witness::{PostgresWitness, Witness};

#[tokio::test]
async fn busy_pool_of_the_application_is_not_used() {
    let database = TestServer::shared().await.unwrap().database().await.unwrap();
    let witness = PostgresWitness::connect(database.url()).await.unwrap();
    let pool = PgPoolOptions::new().max_connections(1).connect(database.url()).await.unwrap();
    let busy = pool.acquire().await.unwrap();
    let locks = Locks::new(SqlxDriver::from_pool(&pool));
    for round in 0..1000 {
        let lock = locks.rwlock(round % 7);
        if round % 2 == 0 {
            lock.write().await.unwrap().release().await.unwrap();
        } else {
            drop(lock.read().await.unwrap());
        }
    }
    assert_eq!((pool.size(), pool.num_idle()), (1, 0));
    drop(busy);
    witness.until_quiet().await.unwrap();
}

#[tokio::test]
async fn settings_do_not_leak_into_sessions_of_the_application() {
    let database = TestServer::shared().await.unwrap().database().await.unwrap();
    let witness = PostgresWitness::connect(database.url()).await.unwrap();
    let pool = PgPoolOptions::new().max_connections(1).connect(database.url()).await.unwrap();
    let locks = Locks::new(SqlxDriver::from_pool(&pool));
    let _guard = locks.rwlock("key").write().await.unwrap();
    let path: String = query_scalar("SHOW search_path").fetch_one(&pool).await.unwrap();
    assert_eq!(path, "\"$user\", public");
    assert_eq!(witness.holders("key".into()).await.unwrap()[0].mode, Mode::Write);
}

#[tokio::test]
async fn closed_pool_keeps_no_connection_while_its_locks_go_on() {
    let (witness, pool, _database) = idle(PgPoolOptions::new()).await;
    let locks = Locks::new(SqlxDriver::from_pool(&pool));
    let guard = locks.rwlock("key").write().await.unwrap();
    pool.close().await;
    witness.until_sessions("app", 0).await.unwrap();
    assert!(guard.is_held());
    reopen(&locks, &witness).await;
}

#[tokio::test]
async fn dropped_pool_keeps_its_connections_for_its_own_time_only() {
    let options = PgPoolOptions::new().idle_timeout(Duration::from_millis(300));
    let (witness, pool, _database) = idle(options).await;
    let locks = Locks::new(SqlxDriver::from_pool(&pool));
    let guard = locks.rwlock("key").write().await.unwrap();
    drop(pool);
    witness.until_sessions("app", 0).await.unwrap();
    assert!(guard.is_held());
    reopen(&locks, &witness).await;
}

#[tokio::test]
async fn options_of_a_pool_keep_none_of_its_connections() {
    let options = PgPoolOptions::new().min_connections(2).after_connect(|connection, _| {
        let mark = query("SELECT set_config('app.hook', 'has run', false)");
        Box::pin(async move { mark.execute(connection).await.map(drop) })
    });
    let (witness, pool, _database) = idle(options).await;
    let connect = PgConnectOptions::clone(&pool.connect_options());
    let locks = Locks::new(SqlxDriver::from_pool_options(pool.options().clone(), connect));
    let guard = locks.rwlock("key").write().await.unwrap();
    drop(pool);
    witness.until_sessions("app", 0).await.unwrap();
    assert!(guard.is_held());
    reopen(&locks, &witness).await;
}

/// A pool with two idle connections, named `app`.
async fn idle(options: PgPoolOptions) -> (PostgresWitness, PgPool, TestDatabase) {
    let database = TestServer::shared().await.unwrap().database().await.unwrap();
    let witness = PostgresWitness::connect(database.url()).await.unwrap();
    let connect: PgConnectOptions = database.url().parse().unwrap();
    let pool = options.connect_with(connect.application_name("app")).await.unwrap();
    drop((pool.acquire().await.unwrap(), pool.acquire().await.unwrap()));
    witness.until_sessions("app", 2).await.unwrap();
    (witness, pool, database)
}

/// When its session has ended, the manager opens another one.
async fn reopen(locks: &Locks, witness: &PostgresWitness) {
    for pid in witness.sessions("app (pglock)").await.unwrap() {
        witness.terminate(pid).await.unwrap();
    }
    let guard = locks.rwlock("another").write().await.unwrap();
    witness.until_sessions("app (pglock)", 1).await.unwrap();
    guard.release().await.unwrap();
    witness.until_sessions("app", 0).await.unwrap();
}
