//! The pool of the application, which lends its options and nothing else.

use pglock_core::Mode;
use pglock_sqlx::Locks;
use pglock_sqlx::sqlx::postgres::PgPoolOptions;
use pglock_sqlx::sqlx::query_scalar;
use pglock_testkit::postgres::TestServer;
use pglock_testkit::witness::{PostgresWitness, Witness};

#[tokio::test]
async fn busy_pool_of_the_application_is_not_used() {
    let database = TestServer::shared().await.unwrap().database().await.unwrap();
    let witness = PostgresWitness::connect(database.url()).await.unwrap();
    let pool = PgPoolOptions::new().max_connections(1).connect(database.url()).await.unwrap();
    let busy = pool.acquire().await.unwrap();
    let locks = Locks::new(pool.clone());
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
    let locks = Locks::new(pool.clone());
    let _guard = locks.rwlock("key").write().await.unwrap();
    let path: String = query_scalar("SHOW search_path").fetch_one(&pool).await.unwrap();
    assert_eq!(path, "\"$user\", public");
    assert_eq!(witness.holders("key".into()).await.unwrap()[0].mode, Mode::Write);
}
