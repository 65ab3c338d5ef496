//! A schema migration at the start of a service: all replicas start at once, one migrates, the
//! others find it done.
//!
//! The programs run the migrations with their clients. Both take the lock of sqlx's migrations, so
//! services on sqlx and on diesel can migrate one database.

use futures::future::try_join_all;
use tokio::task::JoinHandle;

use crate::{Result, ensure};

const REPLICAS: usize = 3;

/// The number of migrations in `examples/migrations`, for each client.
pub const COUNT: usize = 3;

/// A name for a schema that nothing else in the database uses.
pub fn schema() -> String {
    format!("pglock_example_{}", std::process::id())
}

/// Starts the replicas at once. `start` gets the number of the replica, and migrates in a task.
///
/// # Errors
///
/// Those of the replicas.
pub async fn run(start: impl Fn(usize) -> JoinHandle<Result>) -> Result {
    let replicas = try_join_all((1..=REPLICAS).map(start)).await?;
    for (replica, migrated) in (1..).zip(replicas) {
        migrated?;
        println!("replica {replica}: the schema is up to date, starting the service");
    }
    Ok(())
}

/// Checks what the database has recorded. A migration that ran twice would have failed.
///
/// # Errors
///
/// If it is not each migration, once.
pub fn check(recorded: usize) -> Result {
    ensure(recorded == COUNT, "each migration is recorded once")?;
    println!("each migration was run once");
    Ok(())
}
