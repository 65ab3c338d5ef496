//! Candidates stand for election: one leads and works. The next takes over when the leader steps
//! down or dies. Look for `leading`: one candidate after the other.
//!
//! ```text
//! cargo run -p pglock-examples --example sqlx-leader-election                # ends by itself
//! cargo run -p pglock-examples --example sqlx-leader-election -- --forever   # until Ctrl-C, in several terminals
//! ```

use std::process::ExitCode;
use std::sync::Arc;

use pglock_examples::{leader_election, program};
use pglock_sqlx::{Locks, SqlxDriver};

#[tokio::main]
async fn main() -> ExitCode {
    program::run(
        |url| Ok(Locks::new(SqlxDriver::from_url(url)?)),
        async |locks| leader_election::run(Arc::new(locks.clone()), program::forever()?).await,
    )
    .await
}
