//! A standby, which can be promoted.

use tokio::time::{Instant, sleep};

use super::{FaultError, PATIENCE, POLL};
use crate::postgres::{TestServer, TestServerError, connect};

/// A hot standby of a private server: it follows the server, answers queries, and can be promoted.
///
/// It is a server of its own, which stops and is removed when dropped. The primary may be stopped,
/// killed or dropped before it.
#[derive(Debug)]
pub struct Standby {
    server: TestServer,
    primary: String,
}

impl Standby {
    /// Makes a standby of that server, which must be [private](TestServer::private) and running.
    ///
    /// # Errors
    ///
    /// [`FaultError::NotAllowed`] if `pg_basebackup` is missing beside `initdb`, as in some
    /// packages; otherwise [`FaultError::Server`].
    pub async fn of(primary: &TestServer) -> Result<Self, FaultError> {
        let server = primary.start_standby().await.map_err(|error| match error {
            TestServerError::NoBaseBackup(_) => FaultError::NotAllowed { why: error.to_string() },
            error => error.into(),
        })?;
        Ok(Self { server, primary: primary.url().to_owned() })
    }

    /// The standby's server, to connect to, stop and start.
    #[must_use]
    pub fn server(&self) -> &TestServer {
        &self.server
    }

    /// Waits until the standby has received everything that the primary has written so far.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    ///
    /// # Errors
    ///
    /// [`FaultError::TimedOut`] after 30 seconds; [`FaultError::Server`] and
    /// [`FaultError::Statement`] if either server cannot be queried.
    pub async fn until_replayed(&self) -> Result<(), FaultError> {
        let (primary, standby) = (connect(&self.primary).await?, connect(self.server.url()).await?);
        let written: String = primary
            .query_one("SELECT pg_catalog.pg_current_wal_lsn()::text", &[])
            .await?
            .try_get(0)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let replayed =
                "SELECT coalesce(pg_catalog.pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false)";
            if standby.query_one(replayed, &[&written]).await?.try_get(0)? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(FaultError::TimedOut {
                    awaited: format!("the standby to get to {written}"),
                });
            }
            sleep(POLL).await;
        }
    }

    /// Promotes the standby to a primary on a timeline of its own, and returns when it accepts
    /// writes. Its sessions survive, and the old primary does not learn of the promotion.
    ///
    /// # Cancel safety
    ///
    /// The promotion happens anyway.
    ///
    /// # Errors
    ///
    /// [`FaultError::TimedOut`]; [`FaultError::Server`] and [`FaultError::Statement`] if it cannot
    /// be queried, or was promoted before.
    pub async fn promote(&self) -> Result<(), FaultError> {
        let client = connect(self.server.url()).await?;
        let statement = "SELECT pg_catalog.pg_promote(wait_seconds => 60)";
        if client.query_one(statement, &[]).await?.try_get(0)? {
            Ok(())
        } else {
            Err(FaultError::TimedOut { awaited: "the promotion of a standby".to_owned() })
        }
    }
}
