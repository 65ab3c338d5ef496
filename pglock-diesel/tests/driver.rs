//! What the driver does beside running statements: connecting, noticing the end, ending, and keeping secrets.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::cell::RefCell;
use std::error::Error as StdError;
use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use pglock_core::driver::{Driver, DriverError, Session};
use pglock_diesel::DieselDriver;
use pglock_diesel::diesel::{ConnectionError, ConnectionResult};
use pglock_diesel::diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use pglock_testkit::postgres::{TestDatabase, TestServer};
use pglock_testkit::witness::{PostgresWitness, Witness};
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

const SECRET: &str = "Zk7-secret-9Qx";
/// Of the sessions under test.
const NAME: &str = "under test";
const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn wrong_password_is_told_as_the_server_tells_it() {
    let rules = std::env::temp_dir().join(format!("pglock-diesel-hba-{}", std::process::id()));
    fs::write(
        &rules,
        "host all guarded all scram-sha-256\nhost all all all trust\nlocal all all trust\n",
    )
    .unwrap();
    let server = TestServer::private_with(&[("hba_file", rules.to_str().unwrap())]).await.unwrap();
    let admin = PostgresWitness::connect(server.url()).await.unwrap();
    admin.client().batch_execute("CREATE ROLE guarded LOGIN PASSWORD 'right'").await.unwrap();
    let url = |password| server.url().replace("test:test@", &format!("guarded{password}@"));
    let wrong = url(format!(":{SECRET}"));
    assert_told(&refusal(&wrong).await, "Connection", Some("28P01"));
    assert_told(&refusal_of(establishing(wrong)).await, "Connection", Some("28P01"));
    assert_told(&refusal(&url(String::new())).await, "Configuration", None);
    connect(&url(":right".to_owned())).await;
    fs::remove_file(rules).unwrap();
}

#[tokio::test]
async fn missing_database_is_told_as_the_server_tells_it() {
    let database = database().await;
    let url = with_secret(&database).replace(database.name(), "none");
    assert_told(&refusal(&url).await, "Connection", Some("3D000"));
    assert_told(&refusal_of(establishing(url)).await, "Connection", Some("3D000"));
}

#[tokio::test]
async fn refused_connection_is_told_at_once() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let begin = Instant::now();
    let error = refusal(&format!("postgres://user:{SECRET}@127.0.0.1:{port}/db")).await;
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert_told(&error, "Connection", None);
    let cause = error.source().unwrap().to_string();
    assert!(cause.contains("refused"), "{cause}");
}

#[tokio::test]
async fn full_server_is_told_at_once() {
    let database = database().await;
    let admin = PostgresWitness::connect(database.url()).await.unwrap();
    let role = database.name();
    let create = format!("CREATE ROLE {role} LOGIN CONNECTION LIMIT 1 PASSWORD '{SECRET}'");
    admin.client().batch_execute(&create).await.unwrap();
    let url = named(&database).replace("test:test@", &format!("{role}:{SECRET}@"));
    let first = connect(&url).await;
    let begin = Instant::now();
    let error = refusal(&url).await;
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert_told(&error, "Connection", Some("53300"));
    let error = refusal_of(establishing(url.clone())).await;
    assert_told(&error, "Connection", Some("53300"));
    first.close().await;
    assert_sessions(&database, 0).await;
    admin.client().batch_execute(&format!("DROP ROLE {role}")).await.unwrap();
}

#[tokio::test]
async fn unreadable_urls_are_refused_without_being_shown() {
    for url in [
        format!("postgres://user:{SECRET}@localhost:port/db"),
        format!("postgres://user:{SECRET}@localhost/db?sslmode=perhaps"),
        format!("postgres://user:{SECRET}@localhost/db?{SECRET}=1"),
        format!("postgres://user:{SECRET}@[::1/db"),
        format!("postgres://user:{SECRET}@localhost/%ff"),
        format!("host=localhost password=a {SECRET}=b"),
        format!("user:{SECRET}@localhost/db"),
    ] {
        let error = DieselDriver::from_url(&url).unwrap_err();
        assert_told(&error, "Configuration", None);
    }
}

#[tokio::test]
async fn tls_that_cannot_be_had_is_a_wrong_setting() {
    let database = database().await;
    let url = format!("{}?sslmode=require", with_secret(&database));
    assert_told(&refusal(&url).await, "Configuration", None);
}

#[tokio::test]
async fn failing_function_is_told_and_leaves_no_connection() {
    let database = database().await;
    let error = refusal_of(set_up(named(&database), "SELECT 1 / 0")).await;
    assert_told(&error, "Connection", None);
    assert!(error.to_string().contains("division by zero"), "{error}");
    assert_sessions(&database, 0).await;
}

#[tokio::test]
async fn dropped_attempt_leaves_no_connection() {
    let database = database().await;
    let driver = DieselDriver::from_url(&named(&database)).unwrap();
    for step in 0..60 {
        let _ = timeout(Duration::from_micros(100 * step), driver.connect()).await;
    }
    assert_sessions(&database, 0).await;
}

#[tokio::test]
async fn close_ends_the_server_session() {
    let database = database().await;
    let session = connect(&named(&database)).await;
    assert_sessions(&database, 1).await;
    session.close().await;
    assert_sessions(&database, 0).await;
}

#[test]
fn drop_ends_the_server_session_from_any_thread() {
    let runtime = Runtime::new().unwrap();
    let database = runtime.block_on(database());
    let connect = || runtime.block_on(connect(&named(&database)));
    let (inside, outside) = (connect(), connect());
    runtime.block_on(async { drop(inside) });
    std::thread::spawn(|| drop(outside)).join().unwrap();
    runtime.block_on(assert_sessions(&database, 0));
}

#[test]
fn drop_ends_the_server_session_without_its_runtime() {
    let observer = Runtime::new().unwrap();
    let database = observer.block_on(database());
    let url = named(&database);
    for shut_down in [drop, Runtime::shutdown_background] {
        let runtime = Runtime::new().unwrap();
        let session = runtime.block_on(connect(&url));
        let mut read = runtime.block_on(connect(&url));
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
        static KEPT: RefCell<Option<<DieselDriver as Driver>::Session>> = const { RefCell::new(None) };
    }
    let runtime = Runtime::new().unwrap();
    let database = runtime.block_on(database());
    let session = runtime.block_on(connect(&named(&database)));
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
    let mut session = connect(&named(&database)).await;
    let early = timeout(Duration::from_millis(100), session.closed()).await;
    assert!(early.is_err());
    terminate_all(&database).await;
    let begin = Instant::now();
    let error = timeout(SOON, session.closed()).await.unwrap();
    println!("noticed after {:?}", begin.elapsed());
    assert_told(&error, "Connection", None);
    let again = timeout(SOON, session.closed()).await.unwrap();
    assert_told(&again, "Connection", None);
    session.close().await;
    assert_sessions(&database, 0).await;
}

#[tokio::test]
async fn notifications_do_not_end_a_session() {
    let database = database().await;
    let mut session = set_up(named(&database), "LISTEN noise").connect().await.unwrap();
    let admin = PostgresWitness::connect(database.url()).await.unwrap();
    let noise = async {
        for _ in 0..10 {
            admin.client().batch_execute("NOTIFY noise").await.unwrap();
        }
        sleep(Duration::from_millis(50)).await;
    };
    tokio::select! {
        error = session.closed() => panic!("{error}"),
        () = noise => {}
    }
    terminate_all(&database).await;
    timeout(SOON, session.closed()).await.unwrap();
}

#[tokio::test]
async fn debug_shows_no_password() {
    let driver = DieselDriver::from_url(&format!("postgres://user:{SECRET}@host:1/db")).unwrap();
    assert_eq!(
        format!("{driver:?}"),
        r#"DieselDriver { hosts: [Tcp("host")], ports: [1], database: Some("db"), .. }"#
    );
    let driver = establishing(format!("postgres://user:{SECRET}@host:1/db"));
    assert_eq!(format!("{driver:?}"), "DieselDriver { .. }");
}

#[test]
fn driver_is_made_outside_a_runtime() {
    DieselDriver::from_url("postgres://user@host/db").unwrap();
}

#[test]
fn futures_are_send() {
    fn assert_send<T: Send>(_: T) {}
    async fn connect_and_close(driver: DieselDriver) {
        driver.connect().await.unwrap().close().await;
    }
    let driver = DieselDriver::from_url("postgres://user@host/db").unwrap();
    assert_send(connect_and_close(driver));
}

async fn database() -> TestDatabase {
    let server = TestServer::shared().await.unwrap();
    server.database().await.unwrap()
}

/// The URL, with the name of the sessions under test.
fn named(database: &TestDatabase) -> String {
    format!("{}?application_name={}", database.url(), NAME.replace(' ', "%20"))
}

fn with_secret(database: &TestDatabase) -> String {
    database.url().replace("test:test@", &format!("test:{SECRET}@"))
}

async fn connect(url: &str) -> <DieselDriver as Driver>::Session {
    DieselDriver::from_url(url).unwrap().connect().await.unwrap()
}

async fn refusal(url: &str) -> DriverError {
    refusal_of(DieselDriver::from_url(url).unwrap()).await
}

async fn refusal_of(driver: DieselDriver) -> DriverError {
    driver.connect().await.unwrap_err()
}

/// Connects by diesel's own function, which hides the SQLSTATE, as pools do.
fn establishing(url: String) -> DieselDriver {
    set_up(url, "")
}

/// As [`establishing`], and runs this in each connection.
fn set_up(url: String, sql: &'static str) -> DieselDriver {
    DieselDriver::from_fn(move || {
        let url = url.clone();
        async move {
            let mut connection = AsyncPgConnection::establish(&url).await?;
            let done = connection.batch_execute(sql).await;
            done.map_err(ConnectionError::CouldntSetupConfiguration)?;
            ConnectionResult::Ok(connection)
        }
    })
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

async fn terminate_all(database: &TestDatabase) {
    let admin = PostgresWitness::connect(database.url()).await.unwrap();
    let sessions = admin.sessions(NAME).await.unwrap();
    assert!(!sessions.is_empty());
    for pid in sessions {
        assert!(admin.terminate(pid).await.unwrap());
    }
}

/// The server has soon this many sessions of the name in the database.
async fn assert_sessions(database: &TestDatabase, count: usize) {
    let observer = PostgresWitness::connect(database.url()).await.unwrap();
    let begin = Instant::now();
    loop {
        let seen = observer.sessions(NAME).await.unwrap().len();
        if seen == count {
            return;
        }
        assert!(begin.elapsed() < SOON, "{seen} sessions instead of {count}");
        sleep(Duration::from_millis(5)).await;
    }
}
