//! One replica of a service migrates the schema while the others wait.

use std::time::Duration;

use crate::driver::{Driver, Question, Session};
use crate::engine::{WaitStrategy, thread_runtime};
use crate::error::{Error, ErrorKind, Result};
use crate::key::well_known;
use crate::locks::Locks;

/// The first pause between two tries; pauses grow up to 16 times as long.
const INTERVAL: Duration = Duration::from_millis(50);

/// Runs work while no other program migrates this database.
///
/// - It holds the lock that sqlx takes for its own migrations, so it also excludes replicas of an
///   older release.
/// - It waits by polling. A session in the server's queue would keep a `CREATE INDEX CONCURRENTLY`
///   of the holder from finishing.
/// - It stops the work at its next `await` if the lock is lost.
/// - It releases the lock when the work has ended, even if the work failed.
/// - It opens a lock session of its own, and closes it at the end.
///
/// The work must find out which migrations are missing after it has begun, because another replica
/// may have run them in the meantime. It must not take sqlx's lock itself: it would wait for this
/// call.
///
/// # Cancel safety
///
/// If this future is dropped, the work is dropped, and the lock is released.
///
/// # Errors
///
/// [`Lost`](ErrorKind::Lost) if the lock was lost before the work was done: the schema may be half
/// migrated. Otherwise see [`ErrorKind`].
///
/// # Examples
///
/// ```
/// use pglock_core::driver::Driver;
/// use pglock_core::migration::run_exclusively;
///
/// # type MigrationError = std::fmt::Error;
/// async fn migrate_schema() -> Result<(), MigrationError> {
///     // … the migrations that this database lacks …
///     Ok(())
/// }
///
/// async fn start(driver: impl Driver) -> Result<(), Box<dyn std::error::Error>> {
///     run_exclusively(driver, migrate_schema()).await??;
///     Ok(())
/// }
/// ```
pub async fn run_exclusively<F: Future>(driver: impl Driver, work: F) -> Result<F::Output> {
    let (driver, database) = database(driver).await?;
    let key = well_known::sqlx_migrate(&database);
    let strategy = WaitStrategy::Poll { interval: INTERVAL };
    let locks = Locks::builder(driver).wait_strategy(strategy).build()?;
    let guard = locks.rwlock_of_tool(key).write().await?;
    let output = guard.protect(work).await;
    drop(guard);
    locks.close().await?;
    output
}

/// Asks on the engine thread, because the caller may have no runtime. Returns the driver, too.
async fn database<D: Driver>(driver: D) -> Result<(D, String)> {
    let ask = thread_runtime()?.spawn(async move {
        let mut session = driver.connect().await?;
        let rows = session.ask(&Question::database()).await?;
        session.close().await;
        Ok::<_, Error>((driver, rows))
    });
    let (driver, rows) = ask.await.map_err(|_| Error::driver_panicked())??;
    let name = rows.into_iter().find_map(|(_, name)| name).ok_or_else(|| {
        Error::new(ErrorKind::Driver, "the driver did not return the name of the database")
    })?;
    Ok((driver, name))
}
