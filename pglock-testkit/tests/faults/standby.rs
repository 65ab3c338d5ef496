//! Standbys follow their primary, and can be promoted.

use std::error::Error;

use pglock_core::{LockKey, Mode};
use pglock_testkit::faults::{FaultError, Standby, allowed};
use pglock_testkit::postgres::{StopMode, TestServer, TestServerError};
use pglock_testkit::witness::{PostgresWitness, Witness};

use crate::TestResult;

async fn is_in_recovery(witness: &PostgresWitness) -> Result<bool, Box<dyn Error>> {
    Ok(witness.client().query_one("SELECT pg_is_in_recovery()", &[]).await?.try_get(0)?)
}

async fn identifier(witness: &PostgresWitness) -> Result<i64, Box<dyn Error>> {
    let statement = "SELECT system_identifier FROM pg_control_system()";
    Ok(witness.client().query_one(statement, &[]).await?.try_get(0)?)
}

#[tokio::test]
async fn a_standby_follows_until_it_is_promoted() -> TestResult {
    let primary = TestServer::private_with(&[("max_connections", "30")]).await?;
    let Some(standby) =
        allowed("a_standby_follows_until_it_is_promoted", Standby::of(&primary).await)?
    else {
        return Ok(());
    };
    let (old, new) = (
        PostgresWitness::connect(primary.url()).await?,
        PostgresWitness::connect(standby.server().url()).await?,
    );
    assert_eq!((is_in_recovery(&old).await?, is_in_recovery(&new).await?), (false, true));
    assert_eq!(identifier(&old).await?, identifier(&new).await?);

    old.client().batch_execute("CREATE TABLE followed AS SELECT 1 AS n").await?;
    standby.until_replayed().await?;
    let followed: i32 = new.client().query_one("SELECT n FROM followed", &[]).await?.try_get(0)?;
    assert_eq!(followed, 1);
    assert!(new.client().batch_execute("INSERT INTO followed VALUES (2)").await.is_err());

    standby.promote().await?;
    // The session that was on the standby is now on the new primary.
    assert!(!is_in_recovery(&new).await?);
    new.client().batch_execute("INSERT INTO followed VALUES (2)").await?;
    let again = standby.promote().await;
    assert!(matches!(again, Err(FaultError::Statement(_))), "{again:?}");
    Ok(())
}

#[tokio::test]
async fn locks_of_a_standby_are_its_own_and_outlive_its_promotion() -> TestResult {
    let primary = TestServer::private().await?;
    let Some(standby) = allowed(
        "locks_of_a_standby_are_its_own_and_outlive_its_promotion",
        Standby::of(&primary).await,
    )?
    else {
        return Ok(());
    };
    let (old, new) = (
        PostgresWitness::connect(primary.url()).await?,
        PostgresWitness::connect(standby.server().url()).await?,
    );
    for session in [&old, &new] {
        session.hold(LockKey::from(1), Mode::Write).await?;
    }
    standby.promote().await?;
    for session in [&old, &new] {
        assert!(session.release(LockKey::from(1), Mode::Write).await?);
    }
    Ok(())
}

#[tokio::test]
async fn a_standby_outlives_its_primary_and_stops_like_any_server() -> TestResult {
    let primary = TestServer::private().await?;
    let Some(standby) = allowed(
        "a_standby_outlives_its_primary_and_stops_like_any_server",
        Standby::of(&primary).await,
    )?
    else {
        return Ok(());
    };
    primary.kill().await?;
    standby.promote().await?;
    standby.server().restart(StopMode::Fast).await?;
    let witness = PostgresWitness::connect(standby.server().url()).await?;
    assert!(!is_in_recovery(&witness).await?);
    let url = standby.server().url().to_owned();
    drop((witness, standby));
    assert!(PostgresWitness::connect(&url).await.is_err());
    Ok(())
}

#[tokio::test]
async fn only_a_private_server_has_a_standby() -> TestResult {
    let refused = Standby::of(&TestServer::shared().await?).await;
    assert!(matches!(refused, Err(FaultError::Server(TestServerError::NotPrivate))));
    Ok(())
}
