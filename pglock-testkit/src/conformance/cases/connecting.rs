//! What drivers do besides running statements: connect, notice the end of a connection, close, and
//! keep secrets.

use std::cell::RefCell;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use pglock_core::{Error, ErrorKind};
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

use super::{connect, database, execute};
use crate::conformance::{AnyDriver, AnySession, Lab, Options, group, shown, soon};
use crate::faulty::{Fault, Faults, Point};
use crate::postgres::TestDatabase;
use crate::witness::{PostgresWitness, Witness};

group! { connecting:
    refused_connection_is_reported_at_once: Postgres,
    full_server_is_reported_at_once: Postgres,
    unreadable_urls_are_refused_without_being_shown: Postgres,
    driver_is_made_outside_a_runtime_and_shows_no_password: Postgres,
    dropped_attempt_leaves_no_connection: Postgres,
    closed_session_is_gone_at_the_server: Postgres,
    dropped_session_is_gone_from_any_thread: Postgres,
    dropped_session_is_gone_without_its_runtime: Postgres,
    dropped_session_is_gone_at_the_end_of_its_thread: Postgres,
    end_at_the_server_is_noticed_and_stays_reported: Postgres,
    session_that_hangs_while_closing_is_dropped: Engine,
}

const SECRET: &str = "Zk7-secret-9Qx";
/// The `application_name` of the sessions under test.
const NAME: &str = "under test";

/// A database and a driver for it.
struct Place {
    database: TestDatabase,
    witness: PostgresWitness,
    driver: Box<dyn AnyDriver>,
}

impl Place {
    async fn new(lab: &Lab) -> Self {
        let database = database().await;
        let witness = connect(database.url()).await;
        let driver = lab.driver_at(&named(database.url())).unwrap();
        Self { database, witness, driver }
    }

    async fn open(&self) -> Box<dyn AnySession> {
        soon("connecting", self.driver.open()).await.unwrap()
    }

    async fn until_sessions(&self, count: usize) {
        self.witness.until_sessions(NAME, count).await.unwrap();
    }
}

/// The URL, with the name of the sessions under test.
fn named(url: &str) -> String {
    format!("{url}?application_name={}", NAME.replace(' ', "%20"))
}

pub async fn refused_connection_is_reported_at_once(lab: &Lab) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let driver = lab.driver_at(&format!("postgres://user:{SECRET}@127.0.0.1:{port}/db")).unwrap();
    let error = assert_refused(&*driver, ErrorKind::Connection).await;
    assert!(shown(&error).contains("refused"), "{error:?}");
}

pub async fn full_server_is_reported_at_once(lab: &Lab) {
    let place = Place::new(lab).await;
    let role = place.database.name();
    let create = format!("CREATE ROLE {role} LOGIN CONNECTION LIMIT 1 PASSWORD '{SECRET}'");
    execute(&place.witness, &create).await;
    let url = named(place.database.url()).replace("test:test@", &format!("{role}:{SECRET}@"));
    let (first, second) = (lab.driver_at(&url).unwrap(), lab.driver_at(&url).unwrap());
    let session = soon("connecting", first.open()).await.unwrap();
    assert_refused(&*second, ErrorKind::TooManyConnections).await;
    session.end().await;
    drop(soon("there is room", opened(&*second)).await);
    place.until_sessions(0).await;
    execute(&place.witness, &format!("DROP ROLE {role}")).await;
}

/// A server counts a session for a moment after it stops showing it.
async fn opened(driver: &dyn AnyDriver) -> Box<dyn AnySession> {
    loop {
        match driver.open().await {
            Ok(session) => return session,
            Err(error) => assert_eq!(Error::from(error).kind(), ErrorKind::TooManyConnections),
        }
        sleep(Duration::from_millis(2)).await;
    }
}

/// Returns its error, after checking that it shows the password nowhere.
async fn assert_refused(driver: &dyn AnyDriver, kind: ErrorKind) -> Error {
    let begin = Instant::now();
    let error = Error::from(soon("the refusal", driver.open()).await.unwrap_err());
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(!shown(&error).contains(SECRET), "{error:?}");
    error
}

pub async fn unreadable_urls_are_refused_without_being_shown(lab: &Lab) {
    for rest in [
        "localhost:port/db",
        "localhost/db?sslmode=perhaps",
        "localhost/db?port=70000",
        "[::1/db",
        "localhost/%ff",
    ] {
        let error = lab.driver_at(&format!("postgres://user:{SECRET}@{rest}")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOptions, "{error:?}");
        assert!(!shown(&error).contains(SECRET), "{error:?}");
    }
}

pub async fn driver_is_made_outside_a_runtime_and_shows_no_password(lab: &Lab) {
    let lab = lab.clone();
    let make = move || lab.driver_at(&format!("postgres://user:{SECRET}@host/db")).unwrap();
    let driver = thread::spawn(make).join().unwrap();
    let text = format!("{driver:?}{driver:#?}");
    assert!(text.contains("host") && !text.contains(SECRET), "{text}");
}

pub async fn dropped_attempt_leaves_no_connection(lab: &Lab) {
    let place = Place::new(lab).await;
    for step in 0..60 {
        let _ = timeout(Duration::from_micros(100 * step), place.driver.open()).await;
    }
    place.until_sessions(0).await;
}

pub async fn closed_session_is_gone_at_the_server(lab: &Lab) {
    let place = Place::new(lab).await;
    let session = place.open().await;
    place.until_sessions(1).await;
    soon("closing", session.end()).await;
    place.until_sessions(0).await;
}

pub async fn dropped_session_is_gone_from_any_thread(lab: &Lab) {
    let place = Place::new(lab).await;
    let (inside, outside) = (place.open().await, place.open().await);
    drop(inside);
    thread::spawn(|| drop(outside)).join().unwrap();
    place.until_sessions(0).await;
}

pub async fn dropped_session_is_gone_without_its_runtime(lab: &Lab) {
    let place = Place::new(lab).await;
    for shut_down in [drop, Runtime::shutdown_background] {
        let driver = lab.driver_at(&named(place.database.url())).unwrap();
        let open = move || {
            let runtime = Runtime::new().unwrap();
            let session = runtime.block_on(driver.open()).unwrap();
            let mut read = runtime.block_on(driver.open()).unwrap();
            let owner = runtime.spawn(async move { read.ended().await });
            (runtime, session, owner)
        };
        let (runtime, session, owner) = thread::spawn(open).join().unwrap();
        place.until_sessions(2).await;
        let leave = move || {
            shut_down(runtime);
            drop(session);
        };
        thread::spawn(leave).join().unwrap();
        place.until_sessions(0).await;
        assert!(owner.await.unwrap_err().is_cancelled());
    }
}

pub async fn dropped_session_is_gone_at_the_end_of_its_thread(lab: &Lab) {
    thread_local! {
        static KEPT: RefCell<Option<Box<dyn AnySession>>> = const { RefCell::new(None) };
    }
    let place = Place::new(lab).await;
    let session = place.open().await;
    let keep = move || {
        KEPT.set(Some(session));
        // Thread-locals are dropped in reverse order of use: tokio's own is gone when the session
        // is dropped.
        Runtime::new().unwrap().block_on(async {});
    };
    thread::spawn(keep).join().unwrap();
    place.until_sessions(0).await;
}

pub async fn end_at_the_server_is_noticed_and_stays_reported(lab: &Lab) {
    let place = Place::new(lab).await;
    let mut session = place.open().await;
    assert!(timeout(Duration::from_millis(100), session.ended()).await.is_err());
    for pid in place.witness.sessions(NAME).await.unwrap() {
        assert!(place.witness.terminate(pid).await.unwrap());
    }
    for _ in 0..2 {
        let error = Error::from(soon("the end is reported", session.ended()).await);
        assert_eq!(error.kind(), ErrorKind::Connection, "{error:?}");
    }
    soon("closing", session.end()).await;
    place.until_sessions(0).await;
}

/// Holds whatever the driver does: the engine drops a session that does not close in time.
pub async fn session_that_hangs_while_closing_is_dropped(lab: &Lab) {
    let faults = Faults::new();
    faults.strike(Point::Close, Fault::Silence { done: false });
    let manager = lab.manager_with(&Options {
        application_name: NAME.to_owned(),
        faults: Some(faults),
        ..Options::default()
    });
    drop(manager.lock("key").write().await.unwrap());
    drop(manager);
    lab.witness().until_sessions(NAME, 0).await.unwrap();
}
