//! What only sqlx does when it connects, notices the end of a connection, and keeps secrets. The
//! conformance suite tests what all drivers do.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::time::{Duration, Instant};

use pglock_core::driver::{Driver, Session};
use pglock_sqlx::sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use pglock_sqlx::sqlx::{Executor, query};
use pglock_sqlx::{Error, ErrorKind, Locks, SqlxDriver};
use pglock_testkit::conformance::shown;
use pglock_testkit::postgres::{TestDatabase, TestServer};
use pglock_testkit::witness::{PostgresWitness, Witness};
use tokio::time::sleep;

const SECRET: &str = "Zk7-secret-9Qx";
/// The `application_name` of the sessions under test.
const NAME: &str = "under test";

#[test]
fn what_a_lock_entry_has_can_be_named() {
    use pglock_sqlx::{LockEntry, LockKey, Mode};
    fn parts(entry: &LockEntry) -> (LockKey, Mode, bool) {
        (entry.key, entry.mode, entry.is_ours)
    }
    let _ = parts;
}

#[tokio::test]
async fn tls_that_cannot_be_had_is_a_wrong_setting() {
    let (database, _) = place().await;
    for mode in [PgSslMode::Require, PgSslMode::VerifyFull] {
        let options = options(&database).password(SECRET).ssl_mode(mode);
        let error = refusal(&SqlxDriver::from_options(options)).await;
        assert_eq!(error.kind(), ErrorKind::InvalidOptions, "{error:?}");
        assert!(!shown(&error).contains(SECRET), "{error:?}");
    }
}

#[tokio::test]
async fn failing_hook_is_reported_and_leaves_no_connection() {
    let (database, witness) = place().await;
    let pool = PgPoolOptions::new()
        .after_connect(|connection, _| {
            Box::pin(async move { connection.execute("SELECT 1 / 0").await.map(drop) })
        })
        .connect_lazy_with(options(&database));
    let begin = Instant::now();
    let error = refusal(&SqlxDriver::from_pool(&pool)).await;
    // The pool keeps trying for two seconds.
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!(error.kind(), ErrorKind::Connection, "{error:?}");
    assert!(shown(&error).contains("after_connect"), "{error:?}");
    witness.until_sessions(NAME, 0).await.unwrap();
}

#[tokio::test]
async fn pool_lends_its_hooks_but_no_connection() {
    let (database, witness) = place().await;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .after_connect(|connection, _| {
            let rename = query("SELECT set_config('application_name', $1, false)").bind("hooked");
            Box::pin(async move { rename.execute(connection).await.map(drop) })
        })
        .connect_lazy_with(options(&database));
    let driver = SqlxDriver::from_pool(&pool);
    let sessions = [driver.connect().await.unwrap(), driver.connect().await.unwrap()];
    assert_eq!(pool.size(), 0);
    pool.close().await;
    let after_close = driver.connect().await.unwrap();
    witness.until_sessions("hooked", 3).await.unwrap();
    drop((sessions, after_close));
    witness.until_sessions("hooked", 0).await.unwrap();
}

#[tokio::test]
async fn new_options_of_the_pool_are_used_from_the_next_session_on() {
    let (database, _) = place().await;
    let pool = PgPoolOptions::new().connect_lazy_with(options(&database).database("none"));
    let driver = SqlxDriver::from_pool(&pool);
    driver.connect().await.unwrap_err();
    pool.set_connect_options(options(&database));
    driver.connect().await.unwrap();
}

#[tokio::test]
async fn notifications_do_not_end_a_session() {
    let (database, witness) = place().await;
    let pool = PgPoolOptions::new()
        .after_connect(|connection, _| {
            Box::pin(async move { connection.execute("LISTEN noise").await.map(drop) })
        })
        .connect_lazy_with(options(&database));
    let mut session = SqlxDriver::from_pool(&pool).connect().await.unwrap();
    let noise = async {
        for _ in 0..10 {
            witness.client().batch_execute("NOTIFY noise").await.unwrap();
        }
        sleep(Duration::from_millis(50)).await;
    };
    tokio::select! {
        error = session.closed() => panic!("{error}"),
        () = noise => {}
    }
}

#[tokio::test]
async fn debug_shows_no_password() {
    let driver = SqlxDriver::from_url(&format!("postgres://user:{SECRET}@host:1/db")).unwrap();
    let text = format!("{driver:?}");
    assert_eq!(text, r#"SqlxDriver { host: "host", port: 1, database: Some("db"), .. }"#);
    assert!(!format!("{:?}", Locks::builder(driver)).contains(SECRET));
}

async fn place() -> (TestDatabase, PostgresWitness) {
    let server = TestServer::shared().await.unwrap();
    let database = server.database().await.unwrap();
    let witness = PostgresWitness::connect(database.url()).await.unwrap();
    (database, witness)
}

fn options(database: &TestDatabase) -> PgConnectOptions {
    database.url().parse::<PgConnectOptions>().unwrap().application_name(NAME)
}

async fn refusal(driver: &SqlxDriver) -> Error {
    driver.connect().await.unwrap_err().into()
}
