//! Five readers keep up with settings that a writer refreshes, and never see half of a change. Look
//! for the versions: each reader gets 0, 1, 2 and 3.
//!
//! ```text
//! cargo run -p pglock-examples --example diesel-config-cache
//! ```

use std::process::ExitCode;

use pglock_diesel::{DieselDriver, Locks};
use pglock_examples::{config_cache, program};

#[tokio::main]
async fn main() -> ExitCode {
    program::run(
        |url| Ok(Locks::new(DieselDriver::from_url(url)?)),
        async |locks| config_cache::run(&locks.rwlock(config_cache::NAME)).await,
    )
    .await
}
