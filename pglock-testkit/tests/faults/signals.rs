//! Processes stop, continue and end.

use std::time::Duration;

use pglock_core::{LockKey, Mode};
use pglock_testkit::faults::{FaultError, Stopped, TestProcess, kill};
use pglock_testkit::postgres::TestServer;
use pglock_testkit::witness::{PostgresWitness, Witness};
use tokio::time::timeout;

use crate::TestResult;

const SILENCE: Duration = Duration::from_millis(200);

/// The body of the process that a test below starts: it takes a lock in the database of that URL,
/// and then echoes.
#[tokio::test]
async fn process() -> TestResult {
    let Some(url) = TestProcess::role() else {
        return Ok(());
    };
    let client = PostgresWitness::connect(&url).await?;
    client.hold(LockKey::from(1), Mode::Write).await?;
    TestProcess::print("ready");
    let echo = || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            TestProcess::print(&line);
        }
    };
    tokio::task::spawn_blocking(echo).await?;
    TestProcess::print("closed");
    Ok(())
}

fn start(role: &str) -> Result<TestProcess, FaultError> {
    TestProcess::start(&mut TestProcess::command("signals::process", role)?)
}

#[tokio::test]
async fn a_killed_process_leaves_its_lock() -> TestResult {
    let database = TestServer::shared().await?.database().await?;
    let witness = PostgresWitness::connect(database.url()).await?;
    let mut process = start(database.url())?;
    assert_eq!(process.line().await?, "ready");
    assert_eq!(witness.holders(LockKey::from(1)).await?.len(), 1);
    kill(process.pid())?;
    assert!(process.line().await.is_err());
    witness.until_free(LockKey::from(1)).await?;
    Ok(())
}

#[tokio::test]
async fn a_stopped_process_keeps_its_lock_and_goes_on() -> TestResult {
    let database = TestServer::shared().await?.database().await?;
    let witness = PostgresWitness::connect(database.url()).await?;
    let mut process = start(database.url())?;
    assert_eq!(process.line().await?, "ready");
    let stopped = Stopped::stop(process.pid())?;
    process.write("hello")?;
    assert!(timeout(SILENCE, process.line()).await.is_err());
    assert_eq!(witness.holders(LockKey::from(1)).await?.len(), 1);
    stopped.resume();
    assert_eq!(process.line().await?, "hello");
    process.close();
    assert_eq!(process.line().await?, "closed");
    Ok(())
}

#[tokio::test]
async fn a_dropped_process_is_gone_even_if_stopped() -> TestResult {
    let database = TestServer::shared().await?.database().await?;
    let mut process = start(database.url())?;
    assert_eq!(process.line().await?, "ready");
    let stopped = Stopped::stop(process.pid())?;
    let pid = process.pid();
    drop(process);
    assert!(kill(pid).is_err());
    drop(stopped);
    let witness = PostgresWitness::connect(database.url()).await?;
    witness.until_free(LockKey::from(1)).await?;
    Ok(())
}

#[tokio::test]
async fn a_stopped_session_answers_when_it_goes_on() -> TestResult {
    let server = TestServer::private().await?;
    let client = PostgresWitness::connect(server.url()).await?;
    let pid = client.client().query_one("SELECT pg_backend_pid()", &[]).await?.try_get(0)?;
    let stopped = Stopped::stop(pid)?;
    let mut asking = Box::pin(client.hold(LockKey::from(1), Mode::Write));
    assert!(timeout(SILENCE, &mut asking).await.is_err());
    // The server still serves other sessions.
    PostgresWitness::connect(server.url()).await?.until_quiet().await?;
    drop(stopped);
    Ok(asking.await?)
}

#[tokio::test]
async fn a_stopped_postmaster_takes_no_connections() -> TestResult {
    let server = TestServer::private().await?;
    let client = PostgresWitness::connect(server.url()).await?;
    let stopped = Stopped::stop(server.postmaster()?)?;
    let mut connecting = Box::pin(PostgresWitness::connect(server.url()));
    assert!(timeout(SILENCE, &mut connecting).await.is_err());
    client.until_quiet().await?;
    drop(stopped);
    connecting.await?;
    Ok(())
}

#[tokio::test]
async fn a_killed_session_ends_all_sessions() -> TestResult {
    let server = TestServer::private().await?;
    let (victim, other) = (
        PostgresWitness::connect(server.url()).await?,
        PostgresWitness::connect(server.url()).await?,
    );
    kill(victim.client().query_one("SELECT pg_backend_pid()", &[]).await?.try_get(0)?)?;
    timeout(Duration::from_secs(10), async { while other.locks().await.is_ok() {} }).await?;
    assert!(server.log()?.contains("was terminated by signal 9"));
    Ok(())
}

#[test]
fn only_single_processes_are_signalled() {
    // All processes of this user, our process group, and init.
    for pid in [-1, 0, 1, i32::MIN] {
        assert!(matches!(kill(pid), Err(FaultError::Io { .. })));
        assert!(matches!(Stopped::stop(pid), Err(FaultError::Io { .. })));
    }
}
