//! The witness sees what the server sees.

use std::error::Error;

use pglock_core::{LockKey, Mode};
use pglock_testkit::postgres::TestServer;
use pglock_testkit::witness::{PostgresWitness, Witness};

type TestResult = Result<(), Box<dyn Error>>;

async fn pid(witness: &PostgresWitness) -> Result<i32, Box<dyn Error>> {
    Ok(witness.client().query_one("SELECT pg_backend_pid()", &[]).await?.try_get(0)?)
}

#[tokio::test]
async fn a_holder_and_a_blocked_waiter_are_seen() -> TestResult {
    let server = TestServer::shared().await?;
    let database = server.database().await?;
    let witness = PostgresWitness::connect(database.url()).await?;
    let (holder, waiter) = (
        PostgresWitness::connect(database.url()).await?,
        PostgresWitness::connect(database.url()).await?,
    );
    let (holder_pid, waiter_pid) = (pid(&holder).await?, pid(&waiter).await?);

    holder.hold(LockKey::from(7), Mode::Write).await?;
    let waiting =
        tokio::spawn(
            async move { waiter.hold(LockKey::from(7), Mode::Read).await.map(|()| waiter) },
        );
    let waiters = witness.until_waiting(LockKey::from(7), 1).await?;
    assert_eq!(waiters, witness.waiters(LockKey::from(7)).await?);
    assert_eq!(
        (waiters[0].pid, waiters[0].mode, waiters[0].granted),
        (waiter_pid, Mode::Read, false)
    );
    let holders = witness.holders(LockKey::from(7)).await?;
    assert_eq!(holders.len(), 1);
    assert_eq!(
        (holders[0].pid, holders[0].mode, holders[0].granted),
        (holder_pid, Mode::Write, true)
    );

    assert!(holder.release(LockKey::from(7), Mode::Write).await?);
    let waiter = waiting.await??;
    assert_eq!(witness.holders(LockKey::from(7)).await?[0].pid, waiter_pid);
    assert!(waiter.release(LockKey::from(7), Mode::Read).await?);
    witness.until_free(LockKey::from(7)).await?;
    Ok(())
}

#[tokio::test]
async fn every_key_comes_back_as_it_was() -> TestResult {
    let server = TestServer::shared().await?;
    let database = server.database().await?;
    let witness = PostgresWitness::connect(database.url()).await?;
    let big = [i64::MIN, i64::MIN + 1, -42, -1, 0, 1, (5 << 32) | 7, i64::MAX].map(LockKey::from);
    let pairs = [(i32::MIN, i32::MAX), (7, -9), (-1, -1), (0, 0), (5, 7)].map(LockKey::from);
    for key in big.into_iter().chain(pairs) {
        for mode in [Mode::Read, Mode::Write] {
            witness.hold(key, mode).await?;
            let locks = witness.locks().await?;
            assert_eq!(locks.len(), 1, "{key:?}");
            assert_eq!((locks[0].key, locks[0].mode), (key, mode));
            assert!(witness.release(key, mode).await?);
            assert!(witness.locks().await?.is_empty());
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_terminated_session_leaves_nothing() -> TestResult {
    let server = TestServer::shared().await?;
    let database = server.database().await?;
    let (witness, victim) = (
        PostgresWitness::connect(database.url()).await?,
        PostgresWitness::connect(database.url()).await?,
    );
    victim.hold(LockKey::from((1, 2)), Mode::Write).await?;
    let holder = witness.holders(LockKey::from((1, 2))).await?[0].pid;
    assert!(witness.terminate(holder).await?);
    witness.until_quiet().await?;
    assert!(victim.locks().await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_cancelled_waiter_leaves_the_queue() -> TestResult {
    let server = TestServer::shared().await?;
    let database = server.database().await?;
    let (witness, waiter) = (
        PostgresWitness::connect(database.url()).await?,
        PostgresWitness::connect(database.url()).await?,
    );
    witness.hold(LockKey::from(3), Mode::Read).await?;
    let waiting =
        tokio::spawn(
            async move { waiter.hold(LockKey::from(3), Mode::Write).await.map(|()| waiter) },
        );
    let waiter = witness.until_waiting(LockKey::from(3), 1).await?[0].pid;
    assert!(witness.cancel(waiter).await?);
    assert!(waiting.await?.is_err());
    assert!(witness.release(LockKey::from(3), Mode::Read).await?);
    witness.until_free(LockKey::from(3)).await?;
    Ok(())
}

#[tokio::test]
async fn sessions_are_found_by_application_name() -> TestResult {
    let server = TestServer::shared().await?;
    let database = server.database().await?;
    let (witness, named) = (
        PostgresWitness::connect(database.url()).await?,
        PostgresWitness::connect(database.url()).await?,
    );
    named.client().batch_execute("SET application_name = 'somebody'").await?;
    assert_eq!(witness.sessions("somebody").await?, [pid(&named).await?]);
    assert!(witness.sessions("nobody").await?.is_empty());
    Ok(())
}
