//! Eight jobs share a pool of three slots. Look for `has slot` and `done`: never more than three
//! jobs are in between.
//!
//! ```text
//! cargo run -p pglock-examples --example sqlx-resource-pool
//! ```

use std::process::ExitCode;
use std::sync::Arc;

use pglock_examples::{program, resource_pool};
use pglock_sqlx::{Locks, SqlxDriver};

#[tokio::main]
async fn main() -> ExitCode {
    program::run(
        |url| Ok(Locks::new(SqlxDriver::from_url(url)?)),
        async |locks| resource_pool::run(Arc::new(locks.clone())).await,
    )
    .await
}
