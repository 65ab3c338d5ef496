//! What only diesel does when it connects, notices the end of a connection, and keeps secrets. The
//! conformance suite tests what all drivers do.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::thread;
use std::time::Duration;

use pglock_core::blocking::Wait;
use pglock_core::driver::{Driver, Session};
use pglock_diesel::diesel::{ConnectionError, ConnectionResult};
use pglock_diesel::diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use pglock_diesel::{DieselDriver, Error, ErrorKind, run_exclusively};
use pglock_testkit::conformance::{shown, soon};
use pglock_testkit::postgres::{TestDatabase, TestServer};
use pglock_testkit::witness::{PostgresWitness, Witness};
use tokio::time::sleep;

const SECRET: &str = "Zk7-secret-9Qx";
/// The `application_name` of the sessions under test.
const NAME: &str = "under test";

#[test]
fn what_a_lock_entry_has_can_be_named() {
    use pglock_diesel::{LockEntry, LockKey, Mode};
    fn parts(entry: &LockEntry) -> (LockKey, Mode, bool) {
        (entry.key, entry.mode, entry.is_ours)
    }
    let _ = parts;
}

#[tokio::test]
async fn work_that_blocks_runs_exclusively_without_a_runtime() {
    let (database, admin) = place().await;
    let driver = DieselDriver::from_url(database.url()).unwrap();
    let work = async { thread::current().id() };
    let waits = move || (run_exclusively(driver, work).wait(), thread::current().id());
    let thread = thread::spawn(waits);
    let joined = tokio::task::spawn_blocking(|| thread.join().unwrap());
    let (worked_on, waited_on) = soon("the thread", joined).await.unwrap();
    assert_eq!(worked_on.unwrap(), waited_on);
    admin.until_quiet().await.unwrap();
}

#[tokio::test]
async fn wrong_password_that_diesel_hides_is_reported() {
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
    assert_refused(establishing(url(format!(":{SECRET}"))), ErrorKind::PermissionDenied).await;
    // Without a password, the client itself gives up.
    let without = DieselDriver::from_url(&url(String::new())).unwrap();
    assert_refused(without, ErrorKind::InvalidOptions).await;
    establishing(url(":right".to_owned())).connect().await.unwrap();
    fs::remove_file(rules).unwrap();
}

#[tokio::test]
async fn missing_database_that_diesel_hides_is_reported() {
    let (database, _) = place().await;
    let url = with_secret(&database).replace(database.name(), "none");
    assert_refused(establishing(url), ErrorKind::InvalidOptions).await;
}

#[tokio::test]
async fn full_server_that_diesel_hides_is_reported() {
    let (database, admin) = place().await;
    let role = database.name();
    let create = format!("CREATE ROLE {role} LOGIN CONNECTION LIMIT 1 PASSWORD '{SECRET}'");
    admin.client().batch_execute(&create).await.unwrap();
    let url = named(&database).replace("test:test@", &format!("{role}:{SECRET}@"));
    let first = establishing(url.clone()).connect().await.unwrap();
    assert_refused(establishing(url), ErrorKind::TooManyConnections).await;
    first.close().await;
    admin.until_sessions(NAME, 0).await.unwrap();
    admin.client().batch_execute(&format!("DROP ROLE {role}")).await.unwrap();
}

/// `*` is a secret, which may stand anywhere.
#[tokio::test]
async fn settings_that_cannot_be_read_are_named_but_not_shown() {
    for (url, says) in [
        ("postgres://u:*@h/db?sslrootcert=*", "`sslrootcert`: a URL is connected to without TLS"),
        ("postgres://u:*@h/db?sslmode=verify-full", "connect in DieselDriver::from_fn"),
        ("postgres://u:*@h/db?sslmode=*", "sslmode is not disable, prefer or require"),
        ("postgres://u:*@h/db?gssencmode=*", "`gssencmode`: leave it out"),
        ("postgres://u:*@h/db?connect_timeout=3&keepalives_count=*", "use keepalives_retries"),
        ("postgres://u:*@h/db?connect_timeout=3&*=1&port=*", "in place 2"),
        ("postgres://*:*?*=*@h/db?*=*", "in place 1"),
        ("postgres://u:*?*=*@h/db?passfile=*", "`passfile`: give the password in the URL"),
        ("postgres://u:*@h/db?channel_binding=*", "value of `channel_binding`"),
        ("postgres://u:*@h/db?*", "no `=`"),
        ("postgres://u:*@h:*/db", "value of `port`"),
        ("postgres://*:*@[*/*", "value of `host`"),
        ("postgres://*:*@*@h/db", "more than one `@`"),
        ("postgres://u:*@h/%ff*", "not UTF-8"),
        ("host=h password=* sslpassword=*", "`sslpassword`"),
        ("host=h password=* *=*", "one of the parameters"),
        ("host=h password='*", "does not begin with `postgres://`"),
        ("u:*@h/db", "does not begin with `postgres://`"),
    ] {
        let error = DieselDriver::from_url(&url.replace('*', SECRET)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOptions, "{error:?}");
        assert!(!shown(&error).contains(SECRET), "{error:?}");
        assert!(shown(&error).contains(says), "{url}: {error:?}");
    }
}

#[tokio::test]
async fn tls_that_cannot_be_had_is_a_wrong_setting() {
    let (database, _) = place().await;
    let url = format!("{}?sslmode=require", with_secret(&database));
    assert_refused(DieselDriver::from_url(&url).unwrap(), ErrorKind::InvalidOptions).await;
}

#[tokio::test]
async fn failing_function_is_reported_and_leaves_no_connection() {
    let (database, witness) = place().await;
    let failing = set_up(named(&database), "SELECT 1 / 0");
    let error = assert_refused(failing, ErrorKind::Connection).await;
    assert!(shown(&error).contains("division by zero"), "{error:?}");
    witness.until_sessions(NAME, 0).await.unwrap();
}

#[tokio::test]
async fn notifications_do_not_end_a_session() {
    let (database, witness) = place().await;
    let mut session = set_up(named(&database), "LISTEN noise").connect().await.unwrap();
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
    for pid in witness.sessions(NAME).await.unwrap() {
        assert!(witness.terminate(pid).await.unwrap());
    }
    soon("the end is reported", session.closed()).await;
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

async fn place() -> (TestDatabase, PostgresWitness) {
    let server = TestServer::shared().await.unwrap();
    let database = server.database().await.unwrap();
    let witness = PostgresWitness::connect(database.url()).await.unwrap();
    (database, witness)
}

/// The URL, with the name of the sessions under test.
fn named(database: &TestDatabase) -> String {
    format!("{}?application_name={}", database.url(), NAME.replace(' ', "%20"))
}

fn with_secret(database: &TestDatabase) -> String {
    database.url().replace("test:test@", &format!("test:{SECRET}@"))
}

/// Returns its error, after checking that it shows the password nowhere.
async fn assert_refused(driver: DieselDriver, kind: ErrorKind) -> Error {
    let error = Error::from(driver.connect().await.unwrap_err());
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(!shown(&error).contains(SECRET), "{error:?}");
    error
}

/// Connects with diesel's own function, which hides the SQLSTATE, as pools do.
fn establishing(url: String) -> DieselDriver {
    set_up(url, "")
}

/// The same as [`establishing`], and runs this in each connection.
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
