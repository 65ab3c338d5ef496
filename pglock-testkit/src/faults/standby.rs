//! A copy of a server, which can take its place.

use tokio::time::{Instant, sleep};

use super::{FaultError, PATIENCE, POLL};
use crate::postgres::{TestServer, TestServerError, connect};

/// A hot standby of a private server: it follows the server, answers questions, and can be
/// promoted.
///
/// It is a server of its own, which is stopped and removed when dropped. The server it follows may
/// be stopped, killed or dropped before it.
#[derive(Debug)]
pub struct Standby {
    server: TestServer,
    primary: String,
}

impl Standby {
    /// A standby that follows that server, which must be [private](TestServer::private) and run.
    ///
    /// # Errors
    ///
    /// [`FaultError::NotAllowed`] if `pg_basebackup` is not where `initdb` is, as in some packages;
    /// otherwise [`FaultError::Server`].
    pub async fn of(primary: &TestServer) -> Result<Self, FaultError> {
        let server = primary.start_standby().await.map_err(|error| match error {
            TestServerError::NoBaseBackup(_) => FaultError::NotAllowed { why: error.to_string() },
            error => error.into(),
        })?;
        Ok(Self { server, primary: primary.url().to_owned() })
    }

    /// The standby, to connect to, to stop and to start.
    #[must_use]
    pub fn server(&self) -> &TestServer {
        &self.server
    }

    /// Waits until the standby knows all that the primary has written by now.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    ///
    /// # Errors
    ///
    /// [`FaultError::TimedOut`] after 30 seconds; [`FaultError::Server`] and
    /// [`FaultError::Statement`] if one of them cannot be asked.
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

    /// Makes it a primary, on a timeline of its own, and returns when it takes writes. Its sessions
    /// live on, and the server it followed knows nothing of it.
    ///
    /// # Cancel safety
    ///
    /// It is promoted all the same.
    ///
    /// # Errors
    ///
    /// [`FaultError::TimedOut`]; [`FaultError::Server`] and [`FaultError::Statement`] if it cannot
    /// be asked, or was promoted before.
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
