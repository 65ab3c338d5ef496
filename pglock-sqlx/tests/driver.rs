//! What the driver does beside running statements: connecting, noticing the end, ending, and keeping secrets.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::cell::RefCell;
use std::error::Error as StdError;
use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use pglock_core::driver::{Driver, DriverError, Session};
use pglock_sqlx::sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use pglock_sqlx::sqlx::{Connection, Executor, PgConnection, query, query_scalar};
use pglock_sqlx::{Locks, SqlxDriver};
use pglock_testkit::postgres::{TestDatabase, TestServer};
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

const SECRET: &str = "Zk7-secret-9Qx";
/// Of the sessions under test.
const NAME: &str = "under test";
const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn wrong_password_is_told_as_the_server_tells_it() {
    let rules = std::env::temp_dir().join(format!("pglock-sqlx-hba-{}", std::process::id()));
    fs::write(
        &rules,
        "host all guarded all scram-sha-256\nhost all all all trust\nlocal all all trust\n",
    )
    .unwrap();
    let server = TestServer::private_with(&[("hba_file", rules.to_str().unwrap())]).await.unwrap();
    let mut admin = PgConnection::connect(server.url()).await.unwrap();
    admin.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'").await.unwrap();
    let options = options(server.url()).username("guarded");
    let error = refusal(options.clone().password(SECRET)).await;
    assert_told(&error, "Connection", Some("28P01"));
    connect(options.password("right")).await;
    fs::remove_file(rules).unwrap();
}

#[tokio::test]
async fn missing_database_is_told_as_the_server_tells_it() {
    let database = database().await;
    let error = refusal(options(database.url()).database("no such database")).await;
    assert_told(&error, "Connection", Some("3D000"));
}

#[tokio::test]
async fn refused_connection_is_told_at_once() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options =
        PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(free.port()).password(SECRET);
    let begin = Instant::now();
    let error = refusal(options).await;
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert_told(&error, "Connection", None);
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn full_server_is_told_at_once() {
    let database = database().await;
    let mut admin = PgConnection::connect(database.url()).await.unwrap();
    let role = database.name();
    admin
        .execute(sql(format!("CREATE ROLE {role} LOGIN CONNECTION LIMIT 1 PASSWORD '{SECRET}'")))
        .await
        .unwrap();
    let options = options(database.url()).username(role).password(SECRET);
    let first = connect(options.clone()).await;
    let begin = Instant::now();
    let error = refusal(options.clone()).await;
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert_told(&error, "Connection", Some("53300"));
    first.close().await;
    assert_sessions(&database, 0).await;
    drop(connect(options).await);
    assert_sessions(&database, 0).await;
    admin.execute(sql(format!("DROP ROLE {role}"))).await.unwrap();
}

#[tokio::test]
async fn unreadable_urls_are_refused_without_being_shown() {
    for rest in [
        "localhost:port/db",
        "localhost/db?sslmode=perhaps",
        "[::1/db",
        "localhost/db?port=70000",
        "localhost/%ff",
    ] {
        let error = SqlxDriver::from_url(&format!("postgres://user:{SECRET}@{rest}")).unwrap_err();
        assert_told(&error, "Configuration", None);
    }
}

#[tokio::test]
async fn tls_that_cannot_be_had_is_a_wrong_setting() {
    let database = database().await;
    let options = options(database.url()).password(SECRET);
    for mode in [PgSslMode::Require, PgSslMode::VerifyFull] {
        let error = refusal(options.clone().ssl_mode(mode)).await;
        assert_told(&error, "Configuration", None);
    }
}

#[tokio::test]
async fn failing_hook_is_told_and_leaves_no_connection() {
    let database = database().await;
    let pool = PgPoolOptions::new()
        .after_connect(|connection, _| {
            Box::pin(async move { connection.execute("SELECT 1 / 0").await.map(drop) })
        })
        .connect_lazy_with(options(database.url()));
    let begin = Instant::now();
    let error = SqlxDriver::from_pool(&pool).connect().await.unwrap_err();
    // The pool goes on trying for two seconds.
    assert!(begin.elapsed() < SOON);
    assert_told(&error, "Connection", None);
    assert!(error.to_string().contains("after_connect"), "{error}");
    assert_sessions(&database, 0).await;
}

#[tokio::test]
async fn pool_lends_its_hooks_but_no_connection() {
    let database = database().await;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .after_connect(|connection, _| {
            let rename = query("SELECT set_config('application_name', $1, false)").bind("hooked");
            Box::pin(async move { rename.execute(connection).await.map(drop) })
        })
        .connect_lazy_with(options(database.url()));
    let driver = SqlxDriver::from_pool(&pool);
    let sessions = [driver.connect().await.unwrap(), driver.connect().await.unwrap()];
    assert_eq!(pool.size(), 0);
    pool.close().await;
    let after_close = driver.connect().await.unwrap();
    assert_named_sessions(&database, "hooked", 3).await;
    drop((sessions, after_close));
    assert_named_sessions(&database, "hooked", 0).await;
}

#[tokio::test]
async fn new_options_of_the_pool_are_used_from_the_next_session_on() {
    let database = database().await;
    let pool = PgPoolOptions::new().connect_lazy_with(options(database.url()).database("none"));
    let driver = SqlxDriver::from_pool(&pool);
    driver.connect().await.unwrap_err();
    pool.set_connect_options(options(database.url()));
    driver.connect().await.unwrap();
}

#[tokio::test]
async fn dropped_attempt_leaves_no_connection() {
    let database = database().await;
    let driver = SqlxDriver::from_options(options(database.url()));
    for step in 0..60 {
        let _ = timeout(Duration::from_micros(100 * step), driver.connect()).await;
    }
    assert_sessions(&database, 0).await;
}

#[tokio::test]
async fn close_ends_the_server_session() {
    let database = database().await;
    let session = connect(options(database.url())).await;
    assert_sessions(&database, 1).await;
    session.close().await;
    assert_sessions(&database, 0).await;
}

#[test]
fn drop_ends_the_server_session_from_any_thread() {
    let runtime = Runtime::new().unwrap();
    let database = runtime.block_on(database());
    let connect = || runtime.block_on(connect(options(database.url())));
    let (inside, outside) = (connect(), connect());
    runtime.block_on(async { drop(inside) });
    std::thread::spawn(|| drop(outside)).join().unwrap();
    runtime.block_on(assert_sessions(&database, 0));
}

#[test]
fn drop_ends_the_server_session_without_its_runtime() {
    let observer = Runtime::new().unwrap();
    let database = observer.block_on(database());
    let options = options(database.url());
    for shut_down in [drop, Runtime::shutdown_background] {
        let runtime = Runtime::new().unwrap();
        let session = runtime.block_on(connect(options.clone()));
        let mut read = runtime.block_on(connect(options.clone()));
        let owner = runtime.spawn(async move { read.closed().await });
        observer.block_on(assert_sessions(&database, 2));
        shut_down(runtime);
        drop(session);
        observer.block_on(assert_sessions(&database, 0));
        assert!(observer.block_on(owner).unwrap_err().is_cancelled());
    }
}

#[test]
fn drop_ends_the_server_session_at_the_end_of_its_thread() {
    thread_local! {
        static KEPT: RefCell<Option<<SqlxDriver as Driver>::Session>> = const { RefCell::new(None) };
    }
    let runtime = Runtime::new().unwrap();
    let database = runtime.block_on(database());
    let session = runtime.block_on(connect(options(database.url())));
    std::thread::spawn(move || {
        KEPT.set(Some(session));
        // What is used last goes first: tokio's own thread-local is gone when the session is dropped.
        Runtime::new().unwrap().block_on(async {});
    })
    .join()
    .unwrap();
    runtime.block_on(assert_sessions(&database, 0));
}

#[tokio::test]
async fn end_at_the_server_is_noticed_and_final() {
    let database = database().await;
    let mut session = connect(options(database.url())).await;
    let early = timeout(Duration::from_millis(100), session.closed()).await;
    assert!(early.is_err());
    let mut admin = PgConnection::connect(database.url()).await.unwrap();
    query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()")
        .bind(NAME)
        .execute(&mut admin)
        .await
        .unwrap();
    let error = timeout(SOON, session.closed()).await.unwrap();
    assert_told(&error, "Connection", None);
    let again = timeout(SOON, session.closed()).await.unwrap();
    assert_told(&again, "Connection", None);
    session.close().await;
    assert_sessions(&database, 0).await;
}

#[tokio::test]
async fn notifications_do_not_end_a_session() {
    let database = database().await;
    let pool = PgPoolOptions::new()
        .after_connect(|connection, _| {
            Box::pin(async move { connection.execute("LISTEN noise").await.map(drop) })
        })
        .connect_lazy_with(options(database.url()));
    let mut session = SqlxDriver::from_pool(&pool).connect().await.unwrap();
    let mut admin = PgConnection::connect(database.url()).await.unwrap();
    let noise = async {
        for _ in 0..10 {
            admin.execute("NOTIFY noise").await.unwrap();
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
    let shown = format!("{driver:?}");
    assert_eq!(shown, r#"SqlxDriver { host: "host", port: 1, database: Some("db"), .. }"#);
    assert!(!format!("{:?}", Locks::builder(driver)).contains(SECRET));
}

#[test]
fn driver_is_made_outside_a_runtime() {
    SqlxDriver::from_url("postgres://user@host/db").unwrap();
}

#[test]
fn futures_are_send() {
    fn assert_send<T: Send>(_: T) {}
    async fn connect_and_close(driver: SqlxDriver) {
        driver.connect().await.unwrap().close().await;
    }
    let driver = SqlxDriver::from_url("postgres://user@host/db").unwrap();
    assert_send(connect_and_close(driver));
}

async fn database() -> TestDatabase {
    let server = TestServer::shared().await.unwrap();
    server.database().await.unwrap()
}

fn options(url: &str) -> PgConnectOptions {
    url.parse::<PgConnectOptions>().unwrap().application_name(NAME)
}

async fn connect(options: PgConnectOptions) -> <SqlxDriver as Driver>::Session {
    SqlxDriver::from_options(options).connect().await.unwrap()
}

async fn refusal(options: PgConnectOptions) -> DriverError {
    SqlxDriver::from_options(options).connect().await.unwrap_err()
}

/// The error has this meaning and this SQLSTATE, and shows the password nowhere.
#[track_caller]
fn assert_told(error: &DriverError, what: &str, sqlstate: Option<&str>) {
    let debug = format!("{error:?}");
    assert!(debug.contains(&format!("what: {what}")), "{debug}");
    assert!(debug.contains(&format!("sqlstate: {:?}", sqlstate.map(str::to_owned))), "{debug}");
    let mut link: Option<&dyn StdError> = Some(error);
    while let Some(error) = link {
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(SECRET), "{shown}");
        link = error.source();
    }
}

async fn assert_sessions(database: &TestDatabase, count: i64) {
    assert_named_sessions(database, NAME, count).await;
}

/// The server has soon this many sessions of the name in the database.
async fn assert_named_sessions(database: &TestDatabase, name: &str, count: i64) {
    let mut observer = PgConnection::connect(database.url()).await.unwrap();
    let begin = Instant::now();
    loop {
        let seen: i64 = query_scalar("SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()")
            .bind(name)
            .fetch_one(&mut observer)
            .await
            .unwrap();
        if seen == count {
            return;
        }
        assert!(begin.elapsed() < SOON, "{seen} sessions instead of {count}");
        sleep(Duration::from_millis(5)).await;
    }
}

fn sql(text: String) -> pglock_sqlx::sqlx::AssertSqlSafe<String> {
    pglock_sqlx::sqlx::AssertSqlSafe(text)
}
