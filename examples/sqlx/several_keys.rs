//! Transfers between accounts, in both directions at once: each locks two accounts as one. Look for
//! `moved`, six times, and for the auditors, who count 300 each time.
//!
//! ```text
//! cargo run -p pglock-examples --example sqlx-several-keys
//! ```

use std::process::ExitCode;
use std::sync::Arc;

use pglock_examples::{program, several_keys};
use pglock_sqlx::{Locks, SqlxDriver};

#[tokio::main]
async fn main() -> ExitCode {
    program::run(
        |url| Ok(Locks::new(SqlxDriver::from_url(url)?)),
        async |locks| several_keys::run(Arc::new(locks.clone())).await,
    )
    .await
}
