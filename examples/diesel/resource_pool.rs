//! Eight jobs share a pool of three slots. Look for `has slot` and `done`: never more than three
//! jobs are in between.
//!
//! ```text
//! cargo run -p pglock-examples --example diesel-resource-pool
//! ```

use std::process::ExitCode;
use std::sync::Arc;

use pglock_diesel::{DieselDriver, Locks};
use pglock_examples::{program, resource_pool};

#[tokio::main]
async fn main() -> ExitCode {
    program::run(
        |url| Ok(Locks::new(DieselDriver::from_url(url)?)),
        async |locks| resource_pool::run(Arc::new(locks.clone())).await,
    )
    .await
}
