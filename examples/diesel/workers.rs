//! Five workers wait for one lock and work one after the other. Look for `working` and `done` of
//! one worker before those of the next.
//!
//! ```text
//! cargo run -p pglock-examples --example diesel-workers
//! ```

use std::process::ExitCode;

use pglock_diesel::{DieselDriver, Locks};
use pglock_examples::{program, workers};

#[tokio::main]
async fn main() -> ExitCode {
    program::run(
        |url| Ok(Locks::new(DieselDriver::from_url(url)?)),
        async |locks| workers::run(&locks.rwlock(workers::NAME)).await,
    )
    .await
}
