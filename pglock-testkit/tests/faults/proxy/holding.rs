//! The proxy holds back what should pass through it.

use pglock_core::{LockKey, Mode};
use pglock_testkit::faults::Direction;
use pglock_testkit::witness::Witness;

use super::{KEY, Lab, answers, pid, queries, until};
use crate::TestResult;

#[tokio::test]
async fn stall_to_the_client_holds_back_answers() -> TestResult {
    let lab = Lab::new().await?;
    let (client, connection) = lab.client().await?;
    let server_process = pid(&client).await?;
    let before = answers(&connection);
    connection.stall(Direction::ToClient);
    let asking = tokio::spawn(async move {
        client.client().batch_execute("SELECT pg_advisory_lock(1)").await.map(|()| client)
    });
    until("the answer", || answers(&connection) > before).await?;
    assert_eq!(lab.witness.holders(LockKey::from(KEY)).await?[0].pid, server_process);
    assert!(!asking.is_finished());
    connection.resume(Direction::ToClient);
    asking.await??;
    Ok(())
}

#[tokio::test]
async fn stall_to_the_server_holds_back_queries() -> TestResult {
    let lab = Lab::new().await?;
    let (mut client, connection) = lab.raw_client().await?;
    lab.proxy.stall(Direction::ToServer);
    client.query("SELECT pg_try_advisory_lock(1)").await?;
    until("the query", || queries(&connection) == 1).await?;
    // The server gets the query of the client only after this one.
    lab.witness.hold(LockKey::from(KEY), Mode::Write).await?;
    lab.proxy.resume(Direction::ToServer);
    client.until('T').await?;
    assert_eq!(client.message().await?.last(), Some(&b'f'));
    Ok(())
}

#[tokio::test]
async fn one_answer_is_held_back() -> TestResult {
    let lab = Lab::new().await?;
    let (client, connection) = lab.client().await?;
    let (other, _) = lab.client().await?;
    connection.hold(Direction::ToClient, 'D');
    let asking = tokio::spawn(async move {
        client.client().simple_query("SELECT pg_advisory_lock(1)").await.map(|_| client)
    });
    connection.until_held(Direction::ToClient).await?;
    let holder = lab.witness.holders(LockKey::from(KEY)).await?[0].pid;
    assert_eq!(Some(holder), connection.pid());
    assert_ne!(pid(&other).await?, holder);
    assert!(!asking.is_finished());
    connection.release(Direction::ToClient);
    let client = asking.await??;
    // Only that one answer.
    assert_eq!(pid(&client).await?, holder);
    Ok(())
}

#[tokio::test]
async fn messages_before_a_held_one_pass() -> TestResult {
    let lab = Lab::new().await?;
    let (mut client, connection) = lab.raw_client().await?;
    for _ in 0..2 {
        connection.hold(Direction::ToClient, 'C');
        client.query("SELECT 1").await?;
        connection.until_held(Direction::ToClient).await?;
        for expected in *b"TD" {
            assert_eq!(client.message().await?[0], expected);
        }
        connection.release(Direction::ToClient);
        connection.hold(Direction::ToClient, 'C');
        for expected in *b"CZ" {
            assert_eq!(client.message().await?[0], expected);
        }
    }
    Ok(())
}
