//! Five readers keep up with settings that a writer refreshes, and never see half of a change.
//!
//! ```text
//! cargo run -p pglock-examples --example sqlx-config-cache
//! ```

use std::process::ExitCode;

use pglock_examples::{config_cache, program};
use pglock_sqlx::Locks;

#[tokio::main]
async fn main() -> ExitCode {
    program::run(Locks::from_url, async |locks| {
        config_cache::run(&locks.rwlock(config_cache::NAME)).await
    })
    .await
}
