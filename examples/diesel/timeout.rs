//! Waits for a held lock: not long enough, which is the timeout error, and long enough. Look for
//! `timed out: …` after half a second, and `got it in time` two seconds later.
//!
//! ```text
//! cargo run -p pglock-examples --example diesel-timeout
//! ```

use std::process::ExitCode;

use pglock_diesel::{DieselDriver, Locks};
use pglock_examples::{program, timeout};

#[tokio::main]
async fn main() -> ExitCode {
    program::run(
        |url| Ok(Locks::new(DieselDriver::from_url(url)?)),
        async |locks| timeout::run(&locks.rwlock(timeout::NAME)).await,
    )
    .await
}
