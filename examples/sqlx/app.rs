//! Four requests to an application that stores its lock manager. Only one request settles an
//! account at a time. Look for one `alice: settled`: the other two requests find the account
//! locked.
//!
//! ```text
//! cargo run -p pglock-examples --example sqlx-app
//! ```

use std::process::ExitCode;

use pglock_examples::{app, program};
use pglock_sqlx::{Locks, SqlxDriver};

#[tokio::main]
async fn main() -> ExitCode {
    program::run(
        |url| Ok(Locks::new(SqlxDriver::from_url(url)?)),
        async |locks| app::run(locks.clone()).await,
    )
    .await
}
