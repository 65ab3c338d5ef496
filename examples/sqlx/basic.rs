//! Takes a lock, works for five seconds, and gives the lock back.
//!
//! ```text
//! cargo run -p pglock-examples --example sqlx-basic
//! ```
//!
//! Run it in two terminals: the second one is told that the lock is held elsewhere. Both use the database of `DATABASE_URL` if that is set,
//! else a PostgreSQL that the first one starts and the last one stops.

use std::process::ExitCode;

use pglock_examples::{basic, database_url, run};
use pglock_sqlx::Locks;

#[tokio::main]
async fn main() -> ExitCode {
    run(async {
        let locks = Locks::from_url(&database_url().await?)?;
        basic::basic(&locks.rwlock("pglock-examples/basic")).await?;
        locks.close().await?;
        Ok(())
    })
    .await
}
