//! Who holds and who waits for an advisory lock, as the server itself tells it.
//!
//! An adapter under test could believe in a lock that the server does not know. So the tests ask a [`Witness`], which
//! looks into `pg_locks` over a connection of its own and another driver.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use crate::postgres::{TestServerError, connect};

const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

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

/// The key of an advisory lock. The two kinds never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "PostgreSQL has these two")]
pub enum AdvisoryKey {
    /// One `bigint`.
    Big(i64),
    /// Two `integer`.
    Pair(i32, i32),
}

impl From<i64> for AdvisoryKey {
    fn from(key: i64) -> Self {
        Self::Big(key)
    }
}

impl From<(i32, i32)> for AdvisoryKey {
    fn from((first, second): (i32, i32)) -> Self {
        Self::Pair(first, second)
    }
}

/// What an advisory lock allows others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "PostgreSQL has these two")]
pub enum LockMode {
    /// Other readers: `ShareLock`.
    Read,
    /// Nobody: `ExclusiveLock`.
    Write,
}

/// An advisory lock that a session holds or waits for.
///
/// A session that took the same lock in the same mode several times has one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LockRow {
    /// Of the lock.
    pub key: AdvisoryKey,
    /// Of the lock.
    pub mode: LockMode,
    /// Whether the session holds it; otherwise it waits.
    pub granted: bool,
    /// The session's server process.
    pub pid: i32,
}

/// A session that sees all advisory locks of its database.
pub struct Witness {
    client: Client,
}

impl Witness {
    /// Connects to a database, whose locks are then the ones it sees.
    ///
    /// # Errors
    ///
    /// [`WitnessError::Connect`].
    pub async fn connect(url: &str) -> Result<Self, WitnessError> {
        let client = connect(url).await.map_err(WitnessError::Connect)?;
        Ok(Self { client })
    }

    /// All advisory locks of the database, held and waited for, its own included.
    ///
    /// # Errors
    ///
    /// [`WitnessError::Query`].
    pub async fn locks(&self) -> Result<Vec<LockRow>, WitnessError> {
        let rows = self.client.query(LOCKS, &[]).await?;
        rows.iter()
            .map(|row| LockRow::read(row).map_err(WitnessError::Query))
            .collect()
    }

    /// Who holds the key.
    ///
    /// # Errors
    ///
    /// [`WitnessError::Query`].
    pub async fn holders(
        &self,
        key: impl Into<AdvisoryKey> + Send,
    ) -> Result<Vec<LockRow>, WitnessError> {
        self.locks_of(key.into(), true).await
    }

    /// Who waits for the key.
    ///
    /// # Errors
    ///
    /// [`WitnessError::Query`].
    pub async fn waiters(
        &self,
        key: impl Into<AdvisoryKey> + Send,
    ) -> Result<Vec<LockRow>, WitnessError> {
        self.locks_of(key.into(), false).await
    }

    /// Waits until at least `count` sessions wait for the key, and returns them: this proves "blocked".
    ///
    /// # Errors
    ///
    /// [`WitnessError::TimedOut`] after ten seconds, with the locks there are; [`WitnessError::Query`].
    pub async fn until_waiting(
        &self,
        key: impl Into<AdvisoryKey> + Send,
        count: usize,
    ) -> Result<Vec<LockRow>, WitnessError> {
        let key = key.into();
        let waits = |lock: &LockRow| lock.key == key && !lock.granted;
        let awaited = || format!("{count} waiting for {key:?}");
        let locks = self
            .until(
                |locks| locks.iter().filter(|lock| waits(lock)).count() >= count,
                awaited,
            )
            .await?;
        Ok(locks.into_iter().filter(waits).collect())
    }

    /// Waits until nobody holds the key or waits for it.
    ///
    /// # Errors
    ///
    /// As [`until_waiting`](Self::until_waiting).
    pub async fn until_free(&self, key: impl Into<AdvisoryKey> + Send) -> Result<(), WitnessError> {
        let key = key.into();
        let awaited = || format!("{key:?} free");
        self.until(|locks| locks.iter().all(|lock| lock.key != key), awaited)
            .await
            .map(drop)
    }

    /// Waits until the database has no advisory lock.
    ///
    /// # Errors
    ///
    /// As [`until_waiting`](Self::until_waiting).
    pub async fn until_quiet(&self) -> Result<(), WitnessError> {
        self.until(<[LockRow]>::is_empty, || "no advisory lock".to_owned())
            .await
            .map(drop)
    }

    /// The server processes of the sessions of this database with that `application_name`.
    ///
    /// # Errors
    ///
    /// [`WitnessError::Query`].
    pub async fn sessions(&self, application_name: &str) -> Result<Vec<i32>, WitnessError> {
        let rows = self.client.query(SESSIONS, &[&application_name]).await?;
        rows.iter()
            .map(|row| row.try_get(0).map_err(WitnessError::Query))
            .collect()
    }

    /// Ends a session with `pg_terminate_backend`, and tells whether there was one. It may take a moment to end.
    ///
    /// # Errors
    ///
    /// [`WitnessError::Query`].
    pub async fn terminate(&self, pid: i32) -> Result<bool, WitnessError> {
        self.ask("SELECT pg_catalog.pg_terminate_backend($1)", &[&pid])
            .await
    }

    /// Ends what a session is doing with `pg_cancel_backend`, and tells whether there was a session.
    ///
    /// # Errors
    ///
    /// [`WitnessError::Query`].
    pub async fn cancel(&self, pid: i32) -> Result<bool, WitnessError> {
        self.ask("SELECT pg_catalog.pg_cancel_backend($1)", &[&pid])
            .await
    }

    /// Takes a lock for the witness's own session, waiting if it must: the witness plays another process.
    ///
    /// # Errors
    ///
    /// [`WitnessError::Query`].
    pub async fn hold(
        &self,
        key: impl Into<AdvisoryKey> + Send,
        mode: LockMode,
    ) -> Result<(), WitnessError> {
        let statements = match mode {
            LockMode::Read => (
                "SELECT pg_catalog.pg_advisory_lock_shared($1)",
                "SELECT pg_catalog.pg_advisory_lock_shared($1, $2)",
            ),
            LockMode::Write => (
                "SELECT pg_catalog.pg_advisory_lock($1)",
                "SELECT pg_catalog.pg_advisory_lock($1, $2)",
            ),
        };
        match key.into() {
            AdvisoryKey::Big(key) => self.client.execute(statements.0, &[&key]).await?,
            AdvisoryKey::Pair(first, second) => {
                self.client
                    .execute(statements.1, &[&first, &second])
                    .await?
            }
        };
        Ok(())
    }

    /// Releases what [`hold`](Self::hold) took, and tells whether the witness held it.
    ///
    /// # Errors
    ///
    /// [`WitnessError::Query`].
    pub async fn release(
        &self,
        key: impl Into<AdvisoryKey> + Send,
        mode: LockMode,
    ) -> Result<bool, WitnessError> {
        let statements = match mode {
            LockMode::Read => (
                "SELECT pg_catalog.pg_advisory_unlock_shared($1)",
                "SELECT pg_catalog.pg_advisory_unlock_shared($1, $2)",
            ),
            LockMode::Write => (
                "SELECT pg_catalog.pg_advisory_unlock($1)",
                "SELECT pg_catalog.pg_advisory_unlock($1, $2)",
            ),
        };
        match key.into() {
            AdvisoryKey::Big(key) => self.ask(statements.0, &[&key]).await,
            AdvisoryKey::Pair(first, second) => self.ask(statements.1, &[&first, &second]).await,
        }
    }

    /// The witness's session, for anything else.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    async fn locks_of(
        &self,
        key: AdvisoryKey,
        granted: bool,
    ) -> Result<Vec<LockRow>, WitnessError> {
        let locks = self.locks().await?;
        Ok(locks
            .into_iter()
            .filter(|lock| lock.key == key && lock.granted == granted)
            .collect())
    }

    async fn until(
        &self,
        reached: impl Fn(&[LockRow]) -> bool + Send,
        awaited: impl FnOnce() -> String + Send,
    ) -> Result<Vec<LockRow>, WitnessError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let locks = self.locks().await?;
            if reached(&locks) {
                return Ok(locks);
            }
            if Instant::now() >= deadline {
                return Err(WitnessError::TimedOut {
                    awaited: awaited(),
                    locks,
                });
            }
            sleep(POLL).await;
        }
    }

    async fn ask(
        &self,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<bool, WitnessError> {
        Ok(self
            .client
            .query_one(statement, parameters)
            .await?
            .try_get(0)?)
    }
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Witness").finish_non_exhaustive()
    }
}

impl LockRow {
    fn read(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let (high, low): (u32, u32) = (row.try_get(0)?, row.try_get(1)?);
        // 1 says bigint, 2 says a pair.
        let key = if row.try_get::<_, i16>(2)? == 1 {
            AdvisoryKey::Big(((u64::from(high) << 32) | u64::from(low)).cast_signed())
        } else {
            AdvisoryKey::Pair(high.cast_signed(), low.cast_signed())
        };
        let mode = if row.try_get::<_, &str>(3)? == "ShareLock" {
            LockMode::Read
        } else {
            LockMode::Write
        };
        Ok(Self {
            key,
            mode,
            granted: row.try_get(4)?,
            pid: row.try_get(5)?,
        })
    }
}

/// Why a [`Witness`] cannot tell.
#[derive(Debug)]
#[non_exhaustive]
pub enum WitnessError {
    /// It cannot connect.
    Connect(TestServerError),
    /// A statement failed.
    Query(tokio_postgres::Error),
    /// What it waited for did not happen.
    TimedOut {
        /// What it waited for.
        awaited: String,
        /// The locks there were at the end.
        locks: Vec<LockRow>,
    },
}

impl fmt::Display for WitnessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(_) => f.write_str("the witness cannot connect"),
            Self::Query(_) => f.write_str("the witness cannot ask the server"),
            Self::TimedOut { awaited, locks } => {
                write!(
                    f,
                    "still not {awaited} after {} s; the locks are {locks:?}",
                    PATIENCE.as_secs()
                )
            }
        }
    }
}

impl Error for WitnessError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Connect(source) => Some(source),
            Self::Query(source) => Some(source),
            Self::TimedOut { .. } => None,
        }
    }
}

impl From<tokio_postgres::Error> for WitnessError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Query(error)
    }
}
