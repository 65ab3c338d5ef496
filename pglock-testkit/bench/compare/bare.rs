//! The benchmark's own connections.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, Config, NoTls};

use crate::Result;

const APPLICATION_NAME: &str = "pglock-bench";

/// A connection. A task runs it, and ends with the client.
pub(crate) async fn connect(url: &str) -> Result<Client> {
    spawn(url.parse()?).await
}

/// A connection that does not count among the subject's.
pub(crate) async fn connect_uncounted(url: &str) -> Result<Client> {
    spawn(url.parse::<Config>()?.application_name(APPLICATION_NAME).clone()).await
}

async fn spawn(config: Config) -> Result<Client> {
    let (client, connection) = config.connect(NoTls).await?;
    // The client's own calls report the end of the connection.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

/// Observes the server from outside.
pub(crate) struct Observer {
    client: Client,
}

impl Observer {
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        Ok(Self { client: connect_uncounted(url).await? })
    }

    /// The number of the subject's connections.
    pub(crate) async fn connections(&self) -> Result<u64> {
        let row = self
            .client
            .query_one(
                "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name <> $1",
                &[&APPLICATION_NAME],
            )
            .await?;
        Ok(u64::try_from(row.try_get::<_, i64>(0)?)?)
    }

    /// The number of held advisory locks.
    pub(crate) async fn held(&self) -> Result<u64> {
        let row = self
            .client
            .query_one("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted", &[])
            .await?;
        Ok(u64::try_from(row.try_get::<_, i64>(0)?)?)
    }

    /// Returns when the previous subject's connections are closed.
    pub(crate) async fn until_alone(&self) -> Result<()> {
        let begin = Instant::now();
        loop {
            // While the lock table is full, the server does not answer other queries either.
            let found = self.connections().await;
            match found {
                Ok(0) => return Ok(()),
                _ if begin.elapsed() < Duration::from_secs(10) => {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Ok(left) => return Err(format!("{left} connections were left behind").into()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns when a session waits for an advisory lock.
    pub(crate) async fn until_waiting(&self) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(10) {
            let waits: bool = self
                .client
                .query_one(
                    "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)",
                    &[],
                )
                .await?
                .try_get(0)?;
            if waits {
                return Ok(());
            }
        }
        Err("no session waits at the server".into())
    }

    /// A single value of text.
    pub(crate) async fn text(&self, query: &str) -> Result<String> {
        Ok(self.client.query_one(query, &[]).await?.try_get(0)?)
    }
}
