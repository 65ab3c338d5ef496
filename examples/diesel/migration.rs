//! Three replicas start at once. One migrates the schema, the others find it migrated; none waits
//! longer than 30 seconds.
//!
//! ```text
//! cargo run -p pglock-examples --example diesel-migration
//! ```

use std::process::ExitCode;

use pglock_diesel::DieselDriver;
use pglock_examples::{migration, program};

#[tokio::main]
async fn main() -> ExitCode {
    program::run(
        |url| migration::locks(DieselDriver::from_url(url)?),
        async |locks| migration::run(&locks.rwlock(migration::NAME)).await,
    )
    .await
}
