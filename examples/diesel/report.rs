//! Four requests for a report come at once. One builds it, the others wait for it and use it. Look
//! for one `building the report`, and four times `has the report`.
//!
//! ```text
//! cargo run -p pglock-examples --example diesel-report
//! ```

use std::process::ExitCode;

use pglock_diesel::{DieselDriver, Locks};
use pglock_examples::{program, report};

#[tokio::main]
async fn main() -> ExitCode {
    program::run(
        |url| Ok(Locks::new(DieselDriver::from_url(url)?)),
        async |locks| report::run(&locks.rwlock(report::NAME)).await,
    )
    .await
}
