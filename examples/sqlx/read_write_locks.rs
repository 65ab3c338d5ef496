//! Readers hold the lock together and block a writer, which then blocks a reader. Look for the
//! order: three readers, then the writer, then a reader.
//!
//! ```text
//! cargo run -p pglock-examples --example sqlx-read-write-locks
//! ```

use std::process::ExitCode;

use pglock_examples::{program, read_write_locks};
use pglock_sqlx::{Locks, SqlxDriver};

#[tokio::main]
async fn main() -> ExitCode {
    program::run(
        |url| Ok(Locks::new(SqlxDriver::from_url(url)?)),
        async |locks| read_write_locks::run(&locks.rwlock(read_write_locks::key())).await,
    )
    .await
}
