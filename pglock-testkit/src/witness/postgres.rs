//! The witness of a PostgreSQL server.

use std::fmt;

use async_trait::async_trait;
use pglock_core::{LockKey, Mode};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use super::{LockRow, Witness, WitnessError};
use crate::postgres::connect;

const LOCKS: &str = "\
    SELECT classid, objid, objsubid, mode, granted, pid \
    FROM pg_catalog.pg_locks \
    WHERE locktype OPERATOR(pg_catalog.=) 'advisory' AND database OPERATOR(pg_catalog.=) \
        (SELECT oid FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) \
    ORDER BY objsubid, classid, objid, granted DESC, pid";
const SESSIONS: &str = "\
    SELECT pid FROM pg_catalog.pg_stat_activity \
    WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database() \
        AND application_name OPERATOR(pg_catalog.=) $1 \
    ORDER BY pid";

/// A session that sees all advisory locks of its database.
pub struct PostgresWitness {
    client: Client,
}

impl PostgresWitness {
    /// Connects to a database and sees its locks.
    ///
    /// # Errors
    ///
    /// [`WitnessError::Connect`].
    pub async fn connect(url: &str) -> Result<Self, WitnessError> {
        let client = connect(url).await.map_err(WitnessError::Connect)?;
        Ok(Self { client })
    }

    /// The witness's session, for other statements.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The server's version, such as 14 for 14.5.
    ///
    /// # Errors
    ///
    /// [`WitnessError::Query`].
    pub async fn major_version(&self) -> Result<i32, WitnessError> {
        let statement = "SELECT pg_catalog.current_setting('server_version_num')::int4 / 10000";
        Ok(self.client.query_one(statement, &[]).await?.try_get(0)?)
    }

    async fn ask(
        &self,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<bool, WitnessError> {
        Ok(self.client.query_one(statement, parameters).await?.try_get(0)?)
    }
}

#[async_trait]
impl Witness for PostgresWitness {
    async fn locks(&self) -> Result<Vec<LockRow>, WitnessError> {
        let rows = self.client.query(LOCKS, &[]).await?;
        rows.iter().map(read).collect()
    }

    async fn sessions(&self, application_name: &str) -> Result<Vec<i32>, WitnessError> {
        let rows = self.client.query(SESSIONS, &[&application_name]).await?;
        rows.iter().map(|row| row.try_get(0).map_err(WitnessError::from)).collect()
    }

    async fn terminate(&self, pid: i32) -> Result<bool, WitnessError> {
        self.ask("SELECT pg_catalog.pg_terminate_backend($1)", &[&pid]).await
    }

    async fn cancel(&self, pid: i32) -> Result<bool, WitnessError> {
        self.ask("SELECT pg_catalog.pg_cancel_backend($1)", &[&pid]).await
    }

    async fn hold(&self, key: LockKey, mode: Mode) -> Result<(), WitnessError> {
        let (single, pair) = match mode {
            Mode::Read => (
                "SELECT pg_catalog.pg_advisory_lock_shared($1)",
                "SELECT pg_catalog.pg_advisory_lock_shared($1, $2)",
            ),
            Mode::Write => (
                "SELECT pg_catalog.pg_advisory_lock($1)",
                "SELECT pg_catalog.pg_advisory_lock($1, $2)",
            ),
        };
        match key.as_pair() {
            Some((first, second)) => self.client.execute(pair, &[&first, &second]).await?,
            None => self.client.execute(single, &[&key.as_bigint()]).await?,
        };
        Ok(())
    }

    async fn release(&self, key: LockKey, mode: Mode) -> Result<bool, WitnessError> {
        let (single, pair) = match mode {
            Mode::Read => (
                "SELECT pg_catalog.pg_advisory_unlock_shared($1)",
                "SELECT pg_catalog.pg_advisory_unlock_shared($1, $2)",
            ),
            Mode::Write => (
                "SELECT pg_catalog.pg_advisory_unlock($1)",
                "SELECT pg_catalog.pg_advisory_unlock($1, $2)",
            ),
        };
        match key.as_pair() {
            Some((first, second)) => self.ask(pair, &[&first, &second]).await,
            None => self.ask(single, &[&key.as_bigint()]).await,
        }
    }
}

impl fmt::Debug for PostgresWitness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresWitness").finish_non_exhaustive()
    }
}

fn read(row: &Row) -> Result<LockRow, WitnessError> {
    let key = LockKey::from_pg_locks(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let mode = if row.try_get::<_, &str>(3)? == "ShareLock" { Mode::Read } else { Mode::Write };
    Ok(LockRow {
        key: key.ok_or(WitnessError::UnknownLock)?,
        mode,
        granted: row.try_get(4)?,
        pid: row.try_get(5)?,
    })
}
