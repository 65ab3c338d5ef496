//! Shows who holds a lock and who waits for it, independently of the backend under test.
//!
//! An adapter might believe in a lock that the server does not know of, so the cases ask a
//! [`Witness`]. For PostgreSQL, `PostgresWitness` (feature `postgres`) reads `pg_locks` over a
//! connection of its own, with a different client.
//!
//! # Examples
//!
//! ```no_run
//! # #[cfg(feature = "postgres")]
//! # async fn example(locks: pglock_core::Locks, url: &str) -> Result<(), Box<dyn std::error::Error>> {
//! use pglock_testkit::witness::{PostgresWitness, Witness};
//!
//! let witness = PostgresWitness::connect(url).await?;
//! let guard = locks.rwlock("reports/daily").write().await?;
//! let lock = locks.rwlock("reports/daily");
//! let wait = tokio::spawn(async move { lock.read().await });
//!
//! for holder in witness.holders("reports/daily".into()).await? {
//!     println!("held by the server process {}", holder.pid);
//! }
//! drop((guard, wait.await??));
//! witness.until_free("reports/daily".into()).await?;
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

use async_trait::async_trait;
use pglock_core::{LockKey, Mode};
use tokio::time::{Instant, sleep};

mod error;
#[cfg(feature = "postgres")]
mod postgres;

pub use self::error::WitnessError;
#[cfg(feature = "postgres")]
pub use self::postgres::PostgresWitness;

/// How long a test waits for an event on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

/// A lock that a session holds or waits for.
///
/// A session that took the same lock several times in the same mode has one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "witnesses of other backends build it")]
pub struct LockRow {
    /// Of the lock.
    pub key: LockKey,
    /// Of the lock.
    pub mode: Mode,
    /// Whether the session holds it; otherwise it waits.
    pub granted: bool,
    /// The session: for PostgreSQL, its server process.
    pub pid: i32,
}

/// Sees all locks of a lock space, and can act as another process in it.
#[async_trait]
pub trait Witness: Send + Sync {
    /// All locks, held and waited for, including the witness's own.
    ///
    /// # Errors
    ///
    /// [`WitnessError::Query`].
    async fn locks(&self) -> Result<Vec<LockRow>, WitnessError>;

    /// The sessions with that `application_name`.
    ///
    /// # Errors
    ///
    /// [`WitnessError::Query`].
    async fn sessions(&self, application_name: &str) -> Result<Vec<i32>, WitnessError>;

    /// Ends a session, and returns whether it existed. It may take a moment to end.
    ///
    /// # Errors
    ///
    /// [`WitnessError::Query`].
    async fn terminate(&self, pid: i32) -> Result<bool, WitnessError>;

    /// Cancels what a session is doing, and returns whether the session existed.
    ///
    /// # Errors
    ///
    /// [`WitnessError::Query`].
    async fn cancel(&self, pid: i32) -> Result<bool, WitnessError>;

    /// Takes a lock for the witness's own session, waiting if necessary. The witness thus acts as
    /// another process.
    ///
    /// # Errors
    ///
    /// [`WitnessError::Query`].
    async fn hold(&self, key: LockKey, mode: Mode) -> Result<(), WitnessError>;

    /// Releases what [`hold`](Self::hold) took, and returns whether the witness held it.
    ///
    /// # Errors
    ///
    /// [`WitnessError::Query`].
    async fn release(&self, key: LockKey, mode: Mode) -> Result<bool, WitnessError>;

    /// The sessions that hold the key.
    ///
    /// # Errors
    ///
    /// [`WitnessError::Query`].
    async fn holders(&self, key: LockKey) -> Result<Vec<LockRow>, WitnessError> {
        let locks = self.locks().await?;
        Ok(locks.into_iter().filter(|row| row.key == key && row.granted).collect())
    }

    /// The sessions that wait for the key.
    ///
    /// # Errors
    ///
    /// [`WitnessError::Query`].
    async fn waiters(&self, key: LockKey) -> Result<Vec<LockRow>, WitnessError> {
        let locks = self.locks().await?;
        Ok(locks.into_iter().filter(|row| row.key == key && !row.granted).collect())
    }

    /// Waits until at least `count` sessions wait for the key, and returns them. This proves that
    /// they are blocked.
    ///
    /// # Errors
    ///
    /// [`WitnessError::TimedOut`] after ten seconds, with the locks at that time;
    /// [`WitnessError::Query`].
    async fn until_waiting(
        &self,
        key: LockKey,
        count: usize,
    ) -> Result<Vec<LockRow>, WitnessError> {
        let waits = |row: &LockRow| row.key == key && !row.granted;
        let awaited = || format!("{count} waiting for {key:?}");
        let reached = |locks: &[LockRow]| locks.iter().filter(|row| waits(row)).count() >= count;
        let locks = until(self, reached, awaited).await?;
        Ok(locks.into_iter().filter(waits).collect())
    }

    /// Waits until no session holds the key or waits for it.
    ///
    /// # Errors
    ///
    /// The same as for [`until_waiting`](Self::until_waiting).
    async fn until_free(&self, key: LockKey) -> Result<(), WitnessError> {
        let awaited = || format!("{key:?} free");
        until(self, |locks| locks.iter().all(|row| row.key != key), awaited).await.map(drop)
    }

    /// Waits until exactly `count` sessions have that `application_name`. A session takes a moment
    /// to end.
    ///
    /// # Errors
    ///
    /// The same as for [`until_waiting`](Self::until_waiting).
    async fn until_sessions(
        &self,
        application_name: &str,
        count: usize,
    ) -> Result<(), WitnessError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let sessions = self.sessions(application_name).await?.len();
            if sessions == count {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let awaited = format!("{count} sessions, but {sessions},");
                return Err(WitnessError::TimedOut { awaited, locks: self.locks().await? });
            }
            sleep(POLL).await;
        }
    }

    /// Waits until there are no locks at all.
    ///
    /// # Errors
    ///
    /// The same as for [`until_waiting`](Self::until_waiting).
    async fn until_quiet(&self) -> Result<(), WitnessError> {
        until(self, <[LockRow]>::is_empty, || "no lock".to_owned()).await.map(drop)
    }
}

async fn until(
    witness: &(impl Witness + ?Sized),
    reached: impl Fn(&[LockRow]) -> bool + Send,
    awaited: impl FnOnce() -> String + Send,
) -> Result<Vec<LockRow>, WitnessError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let locks = witness.locks().await?;
        if reached(&locks) {
            return Ok(locks);
        }
        if Instant::now() >= deadline {
            return Err(WitnessError::TimedOut { awaited: awaited(), locks });
        }
        sleep(POLL).await;
    }
}
