//! Waits for a held lock: not long enough, which is the time-out error, and long enough.
//!
//! ```text
//! cargo run -p pglock-examples --example diesel-timeout
//! ```

use std::process::ExitCode;

use pglock_diesel::Locks;
use pglock_examples::{program, timeout};

#[tokio::main]
async fn main() -> ExitCode {
    program::run(Locks::from_url, async |locks| timeout::run(&locks.rwlock(timeout::NAME)).await)
        .await
}
