//! PgBouncer pools sessions, and ends with its test.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use pglock_core::{LockKey, Mode};
use pglock_testkit::faults::{FaultError, PgBouncer, PoolMode, TestProcess, allowed};
use pglock_testkit::postgres::{TestServer, TestServerError};
use pglock_testkit::witness::{PostgresWitness, Witness};

use crate::TestResult;

/// The watchdog itself gives a pooler ten seconds to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Uses no prepared statements, which not every PgBouncer supports.
async fn ask(client: &PostgresWitness, question: &str) -> Result<String, tokio_postgres::Error> {
    let answer = client.client().simple_query(question).await?;
    Ok(answer
        .iter()
        .find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .unwrap_or_default())
}

#[tokio::test]
async fn in_session_mode_a_client_has_its_session() -> TestResult {
    let server = TestServer::private().await?;
    let pooler = PgBouncer::start(&server, PoolMode::Session).await;
    let Some(pooler) = allowed("in_session_mode_a_client_has_its_session", pooler)? else {
        return Ok(());
    };
    let witness = PostgresWitness::connect(server.url()).await?;
    let (first, second) = (
        PostgresWitness::connect(pooler.url()).await?,
        PostgresWitness::connect(pooler.url()).await?,
    );
    first.hold(LockKey::from(1), Mode::Write).await?;
    assert_eq!(ask(&second, "SELECT pg_try_advisory_lock(1)").await?, "f");
    let pid = ask(&first, "SELECT pg_backend_pid()").await?;
    assert_eq!(witness.holders(LockKey::from(1)).await?[0].pid.to_string(), pid);
    drop(first);
    witness.until_free(LockKey::from(1)).await?;
    // The session is used again.
    let third = PostgresWitness::connect(pooler.url()).await?;
    assert_eq!(ask(&third, "SELECT pg_backend_pid()").await?, pid);
    Ok(())
}

#[tokio::test]
async fn in_transaction_mode_two_clients_hold_one_lock() -> TestResult {
    let server = TestServer::private().await?;
    let settings = [("default_pool_size", "1")];
    let pooler = PgBouncer::start_with(&server, PoolMode::Transaction, &settings).await;
    let Some(pooler) = allowed("in_transaction_mode_two_clients_hold_one_lock", pooler)? else {
        return Ok(());
    };
    let witness = PostgresWitness::connect(server.url()).await?;
    for _ in 0..2 {
        let client = PostgresWitness::connect(pooler.url()).await?;
        assert_eq!(ask(&client, "SELECT pg_try_advisory_lock(1)").await?, "t");
    }
    // Both are gone.
    assert_eq!(witness.holders(LockKey::from(1)).await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn bad_setting_is_reported_in_the_poolers_words() -> TestResult {
    if allowed("bad_setting_is_reported_in_the_poolers_words", PgBouncer::program())?.is_none() {
        return Ok(());
    }
    let server = TestServer::private().await?;
    let settings = [("no_such_setting", "1")];
    let error = PgBouncer::start_with(&server, PoolMode::Session, &settings).await.unwrap_err();
    assert!(matches!(error, FaultError::Server(TestServerError::Start { .. })));
    assert!(error.to_string().contains("no_such_setting"), "{error}");
    Ok(())
}

fn is_up(url: &str) -> bool {
    let (_, rest) = url.split_once('@').unwrap_or_default();
    let (address, _) = rest.split_once('/').unwrap_or_default();
    TcpStream::connect(address).is_ok()
}

#[tokio::test]
async fn a_dropped_pooler_is_gone() -> TestResult {
    let server = TestServer::private().await?;
    let pooler = PgBouncer::start(&server, PoolMode::Session).await;
    let Some(pooler) = allowed("a_dropped_pooler_is_gone", pooler)? else {
        return Ok(());
    };
    let url = pooler.url().to_owned();
    assert!(is_up(&url));
    drop(pooler);
    assert!(!is_up(&url));
    Ok(())
}

/// The body of the process that the test below starts.
#[tokio::test]
async fn process() -> TestResult {
    if TestProcess::role().is_some() {
        let server = TestServer::private().await?;
        let pooler = PgBouncer::start(&server, PoolMode::Session).await?;
        TestProcess::print(pooler.url());
        std::io::stdin().read_to_end(&mut Vec::new())?;
    }
    Ok(())
}

#[tokio::test]
async fn a_pooler_does_not_outlive_a_killed_test() -> TestResult {
    if allowed("a_pooler_does_not_outlive_a_killed_test", PgBouncer::program())?.is_none() {
        return Ok(());
    }
    let mut process =
        TestProcess::start(&mut TestProcess::command("pgbouncer::process", "owner")?)?;
    let url = process.line().await?;
    assert!(is_up(&url));
    // The parent kills this process.
    drop(process);
    let deadline = Instant::now() + PATIENCE;
    while is_up(&url) {
        assert!(Instant::now() < deadline, "it is up still");
    }
    Ok(())
}
