//! The proxy ends connections, or one direction of them.

use std::io;

use pglock_core::LockKey;
use pglock_testkit::faults::Direction;
use pglock_testkit::witness::Witness;

use super::{KEY, Lab, until};
use crate::TestResult;

#[tokio::test]
async fn reset_reaches_both_sides() -> TestResult {
    let lab = Lab::new().await?;
    let (mut client, connection) = lab.raw_holder().await?;
    connection.reset();
    let error = client.rest().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    lab.until_free().await?;
    until("the end", || !connection.is_open()).await
}

#[tokio::test]
async fn reset_ends_stalled_and_held_connections() -> TestResult {
    let lab = Lab::new().await?;
    let (mut held, holding) = lab.raw_client().await?;
    let (mut stalled, stalling) = lab.raw_client().await?;
    holding.hold(Direction::ToClient, 'D');
    stalling.stall(Direction::ToClient);
    for (client, key) in [(&mut held, 1), (&mut stalled, 2)] {
        client.query(&format!("SELECT pg_advisory_lock({key})")).await?;
    }
    holding.until_held(Direction::ToClient).await?;
    lab.proxy.reset();
    for client in [&mut held, &mut stalled] {
        assert!(client.rest().await.is_err());
    }
    lab.witness.until_quiet().await?;
    Ok(())
}

#[tokio::test]
async fn half_close_to_the_client_keeps_the_session() -> TestResult {
    let lab = Lab::new().await?;
    let (mut client, connection) = lab.raw_holder().await?;
    connection.half_close(Direction::ToClient);
    assert!(client.rest().await?.is_empty());
    assert_eq!(lab.witness.holders(LockKey::from(KEY)).await?.len(), 1);
    client.query("SELECT pg_advisory_unlock(1)").await?;
    lab.until_free().await?;
    Ok(())
}

#[tokio::test]
async fn half_close_to_the_server_ends_the_session() -> TestResult {
    let lab = Lab::new().await?;
    let (mut client, connection) = lab.raw_holder().await?;
    connection.half_close(Direction::ToServer);
    lab.until_free().await?;
    // To the server, the client seems to have disconnected.
    assert!(client.rest().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn cut_ends_the_connection_within_a_message() -> TestResult {
    let lab = Lab::new().await?;
    let (mut client, connection) = lab.raw_holder().await?;
    connection.cut(Direction::ToClient);
    client.query("SELECT repeat('x', 100000)").await?;
    let received = client.rest().await?;
    assert_eq!(received[0], b'T');
    let length = u32::from_be_bytes([received[1], received[2], received[3], received[4]]);
    assert_eq!(received.len(), (length as usize).div_ceil(2));
    lab.until_free().await?;
    Ok(())
}
