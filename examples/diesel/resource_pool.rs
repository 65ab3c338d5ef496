//! Eight jobs share a pool of three slots.
//!
//! ```text
//! cargo run -p pglock-examples --example diesel-resource-pool
//! ```

use std::process::ExitCode;

use pglock_diesel::Locks;
use pglock_examples::{program, resource_pool};

#[tokio::main]
async fn main() -> ExitCode {
    program::run(Locks::from_url, async |locks| resource_pool::run(locks).await).await
}
