//! PgBouncer in front of the server.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pglock_core::{Error, ErrorKind, LockKey, Result, WriteGuard};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_postgres::SimpleQueryMessage;

use super::{assert_advice, connect, holder};
use crate::conformance::{Lab, Manager, Options, group, soon, start};
use crate::faults::{PgBouncer, PoolMode};
use crate::postgres::TestServer;
use crate::witness::{PostgresWitness, Witness};

group! { poolers:
    session_pooling_works: Postgres,
    keepalives_leave_a_silent_session_the_lease_of_its_guards: Postgres,
    transaction_pooling_is_refused_for_a_lone_session: Postgres,
    statement_pooling_is_refused_for_a_lone_session: Postgres,
    transaction_pooling_is_refused_for_a_lone_dedicated_session: Postgres,
    transaction_pooling_never_gives_two_guards_one_lock: Postgres,
    transaction_pooling_never_gives_two_sessions_one_lock: Postgres,
    answer_to_another_question_is_reported: Postgres,
}

const ADVICE: [&str; 2] =
    ["pooler", "connect to PostgreSQL directly or through a pooler in session mode"];

pub async fn session_pooling_works(lab: &Lab) {
    let Some(site) = Site::start(lab, PoolMode::Session, &[]).await else { return };
    let key = LockKey::from("key");
    let (a, b) = (site.manager(), site.manager());
    let guard = a.lock(key).write().await.unwrap();
    assert!(b.lock(key).try_read().await.unwrap().is_none());
    let lock = b.lock(key);
    let wait = start(async move { lock.write().await });
    site.witness.until_waiting(key, 1).await.unwrap();
    guard.release().await.unwrap();
    let guard = soon("the lock is free", wait).await.unwrap().unwrap();
    let pid = holder(&site.witness, key).await;
    let begin = Instant::now();
    site.witness.terminate(pid).await.unwrap();
    soon("the loss is reported", guard.lost()).await;
    println!("loss reported {:?} after pg_terminate_backend", begin.elapsed());
    assert!(!guard.is_held());
    assert_eq!(guard.release().await.unwrap_err().kind(), ErrorKind::Lost);
    // The next clients get the sessions of the former ones, without their locks.
    let guard = a.lock(key).write().await.unwrap();
    a.close().await.unwrap();
    assert!(!guard.is_held());
    let next = site.manager();
    next.lock(key).write().await.unwrap().release().await.unwrap();
    site.witness.until_quiet().await.unwrap();
}

/// Where the server's system lacks `tcp_user_timeout`, only keepalives end a silent session. A
/// pooler that does not reset its sessions shows how they are set.
pub async fn keepalives_leave_a_silent_session_the_lease_of_its_guards(lab: &Lab) {
    let keep = [("server_reset_query", "")];
    for guards in [2, 30] {
        let Some(site) = Site::start(lab, PoolMode::Session, &keep).await else { return };
        let server = guards + guards / 2;
        let [server_lease, guard_lease] =
            [server, guards].map(|seconds| Some(Duration::from_secs(seconds)));
        let options = Options { server_lease, guard_lease, ..Options::default() };
        let manager = site.lab.manager_at(site.pooler.url(), &options).unwrap();
        manager.lock("key").write().await.unwrap().release().await.unwrap();
        manager.close().await.unwrap();
        let mut seconds = Vec::new();
        for name in ["idle", "interval", "count"] {
            let value = site.shown_to_others(&format!("tcp_keepalives_{name}")).await;
            seconds.push(value.parse::<u64>().unwrap());
        }
        let silent = seconds[0] + seconds[1] * seconds[2];
        println!("{silent} s of silence where guards have a lease of {guards} s");
        assert!(silent > guards && silent <= server.max(11));
    }
}

pub async fn transaction_pooling_is_refused_for_a_lone_session(lab: &Lab) {
    assert_refused_when_alone(lab, PoolMode::Transaction).await;
}

pub async fn statement_pooling_is_refused_for_a_lone_session(lab: &Lab) {
    assert_refused_when_alone(lab, PoolMode::Statement).await;
}

/// The pooler has no other client, so each statement reaches the same session as the one before.
async fn assert_refused_when_alone(lab: &Lab, mode: PoolMode) {
    let Some(site) = Site::start(lab, mode, &[]).await else { return };
    let usual = site.shown_to_others("tcp_keepalives_count").await;
    for _ in 0..3 {
        let manager = site.manager();
        let lock = manager.lock("key");
        let errors = [
            soon("try_write", lock.try_write()).await.map(drop).unwrap_err(),
            soon("write", lock.write()).await.map(drop).unwrap_err(),
            soon("session", manager.session()).await.map(drop).unwrap_err(),
        ];
        for error in errors {
            assert_advice(&error, ErrorKind::UnsupportedServer, &ADVICE);
        }
        manager.close().await.unwrap();
        assert_eq!(site.shown_to_others("search_path").await, "\"$user\", public");
        assert_eq!(site.shown_to_others("tcp_keepalives_count").await, usual);
    }
    assert_eq!(site.witness.locks().await.unwrap(), []);
}

/// No other session of its manager has been refused before.
pub async fn transaction_pooling_is_refused_for_a_lone_dedicated_session(lab: &Lab) {
    for mode in [PoolMode::Transaction, PoolMode::Statement] {
        let Some(site) = Site::start(lab, mode, &[]).await else { return };
        let manager = site.manager();
        for _ in 0..3 {
            let error = soon("session", manager.session()).await.map(drop).unwrap_err();
            assert_advice(&error, ErrorKind::UnsupportedServer, &ADVICE);
        }
        manager.close().await.unwrap();
        assert_eq!(site.shown_to_others("search_path").await, "\"$user\", public");
        assert_eq!(site.witness.locks().await.unwrap(), []);
    }
}

pub async fn transaction_pooling_never_gives_two_guards_one_lock(lab: &Lab) {
    let take = |manager: Arc<dyn Manager>| async move { manager.lock("key").try_write().await };
    assert_one_at_a_time(lab, take).await;
}

/// Each try opens a session.
pub async fn transaction_pooling_never_gives_two_sessions_one_lock(lab: &Lab) {
    let take =
        |manager: Arc<dyn Manager>| async move { manager.session().await?.try_write("key").await };
    assert_one_at_a_time(lab, take).await;
}

/// Consecutive statements reach different server sessions.
async fn assert_one_at_a_time<T>(
    lab: &Lab,
    take: impl Fn(Arc<dyn Manager>) -> T + Clone + Send + 'static,
) where
    T: Future<Output = Result<Option<WriteGuard>>> + Send + 'static,
{
    let Some(site) = Site::start(lab, PoolMode::Transaction, &[]).await else { return };
    let holding = Arc::<AtomicUsize>::default();
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let (manager, take) = (site.manager(), take.clone());
            start(take_turns(move || take(manager.clone()), holding.clone()))
        })
        .collect();
    let (mut granted, mut refused) = (0, Vec::new());
    for task in tasks {
        let (locks, errors) = soon("the tries are answered", task).await.unwrap();
        granted += locks;
        refused.extend(errors);
    }
    let all = refused.len();
    // A driver may lose the reason why it closed a connection on which unexpected messages arrived.
    refused.retain(|error| cause(error).kind() != ErrorKind::Connection);
    println!("{granted} granted, {all} refused, {} of them with the reason", refused.len());
    assert!(!refused.is_empty());
    for error in refused {
        assert_advice(&error, error.kind(), &ADVICE);
        assert!(matches!(error.kind(), ErrorKind::UnsupportedServer | ErrorKind::Lost));
    }
}

/// Tries for a while. Returns how often the lock was granted, and the errors.
async fn take_turns<T>(take: impl Fn() -> T, holding: Arc<AtomicUsize>) -> (usize, Vec<Error>)
where
    T: Future<Output = Result<Option<WriteGuard>>>,
{
    let end = Instant::now() + Duration::from_secs(2);
    let (mut granted, mut refused) = (0, Vec::new());
    while Instant::now() < end {
        match take().await {
            Ok(Some(guard)) => {
                granted += 1;
                assert_eq!(holding.fetch_add(1, Ordering::SeqCst), 0, "two hold the lock");
                sleep(Duration::from_millis(1)).await;
                holding.fetch_sub(1, Ordering::SeqCst);
                refused.extend(guard.release().await.err());
            }
            Ok(None) => {}
            Err(error) => refused.push(error),
        }
    }
    (granted, refused)
}

/// The innermost error of this library; each one has the previous one as its source.
fn cause(error: &Error) -> &Error {
    let source = error.source().and_then(|source| source.downcast_ref());
    source.map_or(error, cause)
}

/// What arrives when prepared statements are mixed up is a matter of chance, so this simulates it
/// with another source.
pub async fn answer_to_another_question_is_reported(lab: &Lab) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://test@{}/test?sslmode=disable", listener.local_addr().unwrap());
    let server = start(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut read = [0; 4096];
            assert!(client.read(&mut read).await.unwrap() > 0);
            client.write_all(&[WELCOME, READY].concat()).await.unwrap();
            while matches!(client.read(&mut read).await, Ok(1..)) {
                let _ = client.write_all(&[CLOSED_A_STATEMENT, READY].concat()).await;
            }
        }
    });
    let manager = lab.manager_at(&url, &Options::default()).unwrap();
    let error = soon("try_write", manager.lock("key").try_write()).await.unwrap_err();
    assert_advice(&error, ErrorKind::UnsupportedServer, &ADVICE);
    manager.close().await.unwrap();
    server.abort();
}

const WELCOME: &[u8] = b"R\0\0\0\x08\0\0\0\0";
const READY: &[u8] = b"Z\0\0\0\x05I";
const CLOSED_A_STATEMENT: &[u8] = b"3\0\0\0\x04";

/// A server behind a pooler.
struct Site<'a> {
    lab: &'a Lab,
    witness: PostgresWitness,
    pooler: PgBouncer,
    _server: TestServer,
}

impl<'a> Site<'a> {
    async fn start(lab: &'a Lab, mode: PoolMode, settings: &[(&str, &str)]) -> Option<Self> {
        let server = TestServer::private().await.unwrap();
        let pooler = PgBouncer::start_with(&server, mode, settings).await;
        let pooler = lab.allowed(pooler).unwrap()?;
        let witness = connect(server.url()).await;
        Some(Self { lab, witness, pooler, _server: server })
    }

    /// A setting, as another client of the pooler sees it. Uses no prepared statements, which might
    /// belong to another client.
    async fn shown_to_others(&self, setting: &str) -> String {
        let client = connect(self.pooler.url()).await;
        let answer = client.client().simple_query(&format!("SHOW {setting}")).await.unwrap();
        let value = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        value.unwrap().to_owned()
    }

    fn manager(&self) -> Arc<dyn Manager> {
        self.lab.manager_at(self.pooler.url(), &Options::default()).unwrap()
    }
}
