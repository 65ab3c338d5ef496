//! Three replicas start at once. One migrates the schema, the others find it migrated; none waits
//! longer than 30 seconds.
//!
//! ```text
//! cargo run -p pglock-examples --example sqlx-migration
//! ```

use std::process::ExitCode;

use pglock_examples::{migration, program};
use pglock_sqlx::SqlxDriver;

#[tokio::main]
async fn main() -> ExitCode {
    program::run(
        |url| migration::locks(SqlxDriver::from_url(url)?),
        async |locks| migration::run(&locks.rwlock(migration::NAME)).await,
    )
    .await
}
