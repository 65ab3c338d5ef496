//! A schema migration at the start of a service: all replicas start at once, one migrates, the
//! others find it done.
//!
//! How the migrations run is up to the backend. The lock is that of sqlx, whatever the backend, so
//! one database may be migrated by services of both.

use futures::future::try_join_all;
use tokio::task::JoinHandle;

use crate::{Result, ensure};

const REPLICAS: usize = 3;

/// The number of migrations in `examples/migrations`, for each backend.
pub const MIGRATIONS: usize = 3;

/// A name for a schema that nothing else in the database uses.
pub fn schema() -> String {
    format!("pglock_example_{}", std::process::id())
}

/// Starts the replicas at once. `start` is given the number of the replica; its task returns how
/// many migrations the replica has run, if it knows.
///
/// # Errors
///
/// Those of the replicas.
pub async fn run(start: impl Fn(usize) -> JoinHandle<Result<Option<usize>>>) -> Result {
    let replicas = try_join_all((1..=REPLICAS).map(start)).await?;
    let mut ran = Vec::new();
    for (replica, migrations) in (1..).zip(replicas) {
        let migrations = migrations?;
        ran.extend(migrations);
        println!("replica {replica}: the schema is up to date, starting the service");
    }
    let total = ran.iter().sum::<usize>();
    ensure(ran.is_empty() || total == MIGRATIONS, "each migration runs once")
}
