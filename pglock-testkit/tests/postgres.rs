//! The test PostgreSQL is found, started, shared and cleaned up.

use std::error::Error;

use pglock_core::{LockKey, Mode};
use pglock_testkit::postgres::{StopMode, TestDatabase, TestServer, TestServerError};
use pglock_testkit::witness::{PostgresWitness, Witness};

type TestResult = Result<(), Box<dyn Error>>;

async fn current_database(database: &TestDatabase) -> Result<String, Box<dyn Error>> {
    let witness = PostgresWitness::connect(database.url()).await?;
    Ok(witness.client().query_one("SELECT current_database()::text", &[]).await?.try_get(0)?)
}

#[tokio::test]
async fn a_server_is_there() -> TestResult {
    let server = TestServer::shared().await?;
    let witness = PostgresWitness::connect(server.url()).await?;
    let one: i32 = witness.client().query_one("SELECT 1", &[]).await?.try_get(0)?;
    assert_eq!(one, 1);
    Ok(())
}

#[tokio::test]
async fn one_process_has_one_shared_server() -> TestResult {
    let (first, second) = tokio::try_join!(TestServer::shared(), TestServer::shared())?;
    assert_eq!(first.url(), second.url());
    Ok(())
}

#[tokio::test]
async fn every_database_is_new_and_empty() -> TestResult {
    let server = TestServer::shared().await?;
    let (first, second) = tokio::try_join!(server.database(), server.database())?;
    assert_ne!(first.name(), second.name());
    assert_eq!(current_database(&first).await?, first.name());
    assert_eq!(current_database(&second).await?, second.name());
    Ok(())
}

#[tokio::test]
async fn databases_do_not_see_each_others_locks() -> TestResult {
    let server = TestServer::shared().await?;
    let (first, second) = tokio::try_join!(server.database(), server.database())?;
    let (here, there) = (
        PostgresWitness::connect(first.url()).await?,
        PostgresWitness::connect(second.url()).await?,
    );
    here.hold(LockKey::from(1), Mode::Write).await?;
    there.hold(LockKey::from(1), Mode::Write).await?;
    assert_eq!(there.locks().await?.len(), 1);
    assert!(there.release(LockKey::from(1), Mode::Write).await?);
    there.until_quiet().await?;
    assert_eq!(here.holders(LockKey::from(1)).await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_dropped_database_is_gone_with_its_sessions() -> TestResult {
    let server = TestServer::shared().await?;
    let dropped = server.database().await?;
    let closed = server.database().await?;
    let (dropped_name, closed_name) = (dropped.name().to_owned(), closed.name().to_owned());
    let session = PostgresWitness::connect(dropped.url()).await?;
    drop(dropped);
    closed.close().await?;

    let witness = PostgresWitness::connect(server.url()).await?;
    let left = witness
        .client()
        .query(
            "SELECT 1 FROM pg_database WHERE datname IN ($1, $2)",
            &[&dropped_name, &closed_name],
        )
        .await?;
    assert!(left.is_empty());
    assert!(session.locks().await.is_err());
    Ok(())
}

#[tokio::test]
async fn others_server_does_not_stop() -> TestResult {
    let server = TestServer::shared().await?;
    assert!(matches!(server.stop(StopMode::Fast).await, Err(TestServerError::NotPrivate)));
    assert!(matches!(server.start().await, Err(TestServerError::NotPrivate)));
    assert!(matches!(server.kill().await, Err(TestServerError::NotPrivate)));
    Ok(())
}

#[cfg(unix)]
#[tokio::test]
async fn a_private_server_comes_back_on_its_port() -> TestResult {
    let server = TestServer::private().await?;
    let database = server.database().await?;
    for mode in [StopMode::Fast, StopMode::Immediate] {
        server.stop(mode).await?;
        assert!(PostgresWitness::connect(database.url()).await.is_err());
        server.start().await?;
        assert_eq!(current_database(&database).await?, database.name());
    }
    server.kill().await?;
    assert!(PostgresWitness::connect(server.url()).await.is_err());
    server.start().await?;
    assert_eq!(current_database(&database).await?, database.name());
    Ok(())
}

#[cfg(unix)]
#[tokio::test]
async fn a_restart_ends_every_session() -> TestResult {
    let server = TestServer::private().await?;
    let witness = PostgresWitness::connect(server.url()).await?;
    server.restart(StopMode::Fast).await?;
    assert!(witness.locks().await.is_err());
    PostgresWitness::connect(server.url()).await?.until_quiet().await?;
    Ok(())
}

#[cfg(unix)]
#[tokio::test]
async fn a_private_server_is_gone_when_dropped() -> TestResult {
    let server = TestServer::private().await?;
    let url = server.url().to_owned();
    let witness = PostgresWitness::connect(&url).await?;
    let data: String = witness.client().query_one("SHOW data_directory", &[]).await?.try_get(0)?;
    let data = std::path::PathBuf::from(data);
    assert!(data.exists());
    drop(server);
    assert!(PostgresWitness::connect(&url).await.is_err());
    assert!(data.parent().is_some_and(|folder| !folder.exists()));
    Ok(())
}

#[cfg(unix)]
#[tokio::test]
async fn a_private_server_takes_settings() -> TestResult {
    let server = TestServer::private_with(&[("max_connections", "17")]).await?;
    let witness = PostgresWitness::connect(server.url()).await?;
    let connections: String =
        witness.client().query_one("SHOW max_connections", &[]).await?.try_get(0)?;
    assert_eq!(connections, "17");
    Ok(())
}

#[cfg(unix)]
#[tokio::test]
async fn bad_setting_is_reported_in_the_servers_words() {
    let error = TestServer::private_with(&[("no_such_setting", "1")]).await.unwrap_err();
    assert!(matches!(error, TestServerError::Start { .. }));
    assert!(error.to_string().contains("unrecognized configuration parameter"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn the_log_can_be_read() -> TestResult {
    let server = TestServer::private().await?;
    let witness = PostgresWitness::connect(server.url()).await?;
    assert!(!witness.release(LockKey::from(-42), Mode::Write).await?);
    assert!(server.log()?.contains("you don't own a lock of type ExclusiveLock"));
    Ok(())
}

#[cfg(unix)]
#[tokio::test]
async fn a_private_server_is_reached_through_its_socket() -> TestResult {
    let server = TestServer::private().await?;
    let url = server.socket_url().expect("it is started here");
    let witness = PostgresWitness::connect(&url).await?;
    let through_tcp: bool = witness
        .client()
        .query_one("SELECT inet_client_addr() IS NOT NULL", &[])
        .await?
        .try_get(0)?;
    assert!(!through_tcp);
    Ok(())
}
