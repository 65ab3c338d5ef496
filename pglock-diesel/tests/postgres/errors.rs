//! Errors whose SQLSTATE diesel hides, and whether sessions survive them.

use std::time::Duration;

use pglock_diesel::diesel::ConnectionError;
use pglock_diesel::diesel_async::AsyncPgConnection;
use pglock_diesel::{DieselDriver, ErrorKind, Locks};
use pglock_testkit::conformance::soon;
use pglock_testkit::postgres::TestServer;
use pglock_testkit::witness::Witness;
use tokio::time::timeout;
use tokio_postgres::NoTls;

use crate::{database, witness};

#[tokio::test]
async fn refused_statement_takes_no_lock_away() {
    let server = TestServer::private().await.unwrap();
    let admin = witness(server.url()).await;
    let revoke = "CREATE ROLE plain LOGIN;
        REVOKE EXECUTE ON FUNCTION pg_catalog.pg_try_advisory_lock_shared(bigint) FROM PUBLIC;";
    admin.client().batch_execute(revoke).await.unwrap();
    let url = server.url().replace("test:test@", "plain:x@");
    let locks = Locks::new(DieselDriver::from_url(&url).unwrap());
    let guard = locks.rwlock((1, 2)).write().await.unwrap();
    let holders = admin.holders((1, 2).into()).await.unwrap();
    let error = locks.rwlock(3).read().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    assert!(guard.is_held());
    assert_eq!(admin.holders((1, 2).into()).await.unwrap(), holders);
    guard.release().await.unwrap();
}

#[tokio::test]
async fn next_request_reports_the_loss_of_a_spawned_connection() {
    let database = database().await;
    let url = database.url().to_owned();
    let driver = DieselDriver::from_fn(move || {
        let url = url.clone();
        async move {
            let (client, connection) = tokio_postgres::connect(&url, NoTls)
                .await
                .map_err(|error| ConnectionError::BadConnection(error.to_string()))?;
            tokio::spawn(connection);
            AsyncPgConnection::try_from(client).await
        }
    });
    let locks = Locks::builder(driver).application_name("driven").build().unwrap();
    let guard = locks.rwlock("key").write().await.unwrap();
    let witness = witness(database.url()).await;
    // The session that the manager only compares with is closed in the background.
    witness.until_sessions("driven", 1).await.unwrap();
    for pid in witness.sessions("driven").await.unwrap() {
        assert!(witness.terminate(pid).await.unwrap());
    }
    witness.until_free("key".into()).await.unwrap();
    timeout(Duration::from_millis(50), guard.lost()).await.unwrap_err();
    assert_eq!(soon("release", guard.release()).await.unwrap_err().kind(), ErrorKind::Lost);
    soon("a new session", locks.rwlock("key").write()).await.unwrap().release().await.unwrap();
}
