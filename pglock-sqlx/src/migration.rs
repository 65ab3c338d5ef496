//! The migrations of sqlx under a lock.

use std::error::Error as StdError;
use std::fmt;

use pglock_core::{Error, migration};
use sqlx::PgPool;
use sqlx::migrate::{MigrateError, Migrator};

use crate::driver::SqlxDriver;

/// Runs the migrations of sqlx while no other program migrates the database.
///
/// It takes the lock that sqlx itself takes, so it also excludes replicas of an older release, and
/// it switches off sqlx's own locking. sqlx would wait in the server's queue, where it keeps a
/// `CREATE INDEX CONCURRENTLY` of another replica from finishing; this call waits by polling. See
/// [`migration::run_exclusively`].
///
/// # Cancel safety
///
/// If this future is dropped, the migration is dropped, and the lock is released.
///
/// # Errors
///
/// [`MigrationError::Lock`] if the lock could not be taken, or was lost before the migrations were
/// done; [`MigrationError::Migration`] if one of them failed.
///
/// # Examples
///
/// ```no_run
/// # use pglock_sqlx::sqlx::{PgPool, migrate::Migrator};
/// # async fn start(pool: PgPool, migrator: Migrator) -> Result<(), Box<dyn std::error::Error>> {
/// // let migrator = sqlx::migrate!();
/// pglock_sqlx::migrate(&pool, migrator).await?;
/// # Ok(())
/// # }
/// ```
pub async fn migrate(pool: &PgPool, mut migrator: Migrator) -> Result<(), MigrationError> {
    migrator.set_locking(false);
    match migration::run_exclusively(SqlxDriver::from_pool(pool), migrator.run(pool)).await {
        Ok(done) => done.map_err(MigrationError::Migration),
        Err(error) => Err(MigrationError::Lock(error)),
    }
}

/// Why [`migrate`] did not run all migrations.
///
/// # Examples
///
/// ```
/// use pglock_sqlx::MigrationError;
///
/// fn advice(error: &MigrationError) -> &'static str {
///     match error {
///         MigrationError::Lock(_) => "start again: another process may be migrating",
///         MigrationError::Migration(_) => "correct the migration",
///         _ => "look at the cause",
///     }
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum MigrationError {
    /// The lock could not be taken, or was lost.
    Lock(Error),
    /// A migration failed.
    Migration(MigrateError),
}

impl fmt::Display for MigrationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lock(_) => "the lock of the migrations could not be taken, or was lost",
            Self::Migration(_) => "a migration failed",
        })
    }
}

impl StdError for MigrationError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Lock(error) => Some(error),
            Self::Migration(error) => Some(error),
        }
    }
}
