//! Waits for a held lock: not long enough, which is the timeout error, and long enough. Look for
//! `timed out: …` after half a second, and `got it in time` two seconds later.
//!
//! ```text
//! cargo run -p pglock-examples --example sqlx-timeout
//! ```

use std::process::ExitCode;

use pglock_examples::{program, timeout};
use pglock_sqlx::{Locks, SqlxDriver};

#[tokio::main]
async fn main() -> ExitCode {
    program::run(
        |url| Ok(Locks::new(SqlxDriver::from_url(url)?)),
        async |locks| timeout::run(&locks.rwlock(timeout::NAME)).await,
    )
    .await
}
