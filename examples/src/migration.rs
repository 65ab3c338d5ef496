//! A schema migration at the start of a service: all replicas start at once, one migrates, the
//! others find it done.
//!
//! The replicas poll for the lock, up to the time that a deployment may take. A session that waits
//! in the server's queue would keep a `CREATE INDEX CONCURRENTLY` of the holder from ever
//! finishing.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::try_join_all;
use pglock_core::driver::Driver;
use pglock_core::{DistributedRwLock, Error, Locks, WaitStrategy};
use tokio::time::sleep;

use crate::{Result, ensure};

/// The key of the lock.
pub const NAME: &str = "pglock-examples/migration";

const DEADLINE: Duration = Duration::from_secs(30);
const REPLICAS: usize = 3;
const MIGRATIONS: [&str; 3] = [
    "CREATE TABLE invoice (...)",
    "ALTER TABLE invoice ADD COLUMN paid_at timestamptz",
    "CREATE INDEX CONCURRENTLY ON invoice (paid_at)",
];

/// A lock manager that polls.
///
/// # Errors
///
/// If the options are out of range, which they are not.
pub fn locks(driver: impl Driver) -> Result<Locks, Error> {
    let interval = Duration::from_millis(50);
    Locks::builder(driver).wait_strategy(WaitStrategy::Poll { interval }).build()
}

/// Starts the replicas, each of which brings the schema up to date.
///
/// # Errors
///
/// Those of the lock, such as a timeout if another program migrates for longer than the deadline;
/// and if a migration is run twice.
pub async fn run(lock: &dyn DistributedRwLock) -> Result {
    let schema = Schema::default();
    try_join_all((1..=REPLICAS).map(|replica| start(replica, lock, &schema))).await?;
    ensure(schema.migrations() == MIGRATIONS, "each migration is run once, in order")?;
    println!("each migration was run once");
    Ok(())
}

async fn start(replica: usize, lock: &dyn DistributedRwLock, schema: &Schema) -> Result {
    println!("replica {replica}: waiting for the lock for at most {DEADLINE:?}");
    let guard = lock.try_write_for(DEADLINE).await?;

    // Under the lock: no other replica migrates between this check and what follows.
    let done = schema.migrations().len();
    for migration in &MIGRATIONS[done..] {
        println!("replica {replica}: {migration}");
        sleep(Duration::from_millis(500)).await;
        schema.record(migration);
    }
    println!("replica {replica}: the schema is up to date, starting the service");
    Ok(guard.release().await?)
}

/// Stands for your database and its table of the migrations that were run.
#[derive(Default)]
struct Schema(Mutex<Vec<&'static str>>);

impl Schema {
    fn migrations(&self) -> Vec<&'static str> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn record(&self, migration: &'static str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(migration);
    }
}
