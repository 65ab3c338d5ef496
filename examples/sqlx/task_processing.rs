//! Three workers are given the same tasks. Each task is processed by one; the others report that it
//! is being processed. Look for one `processing` and two `already processing` per task.
//!
//! ```text
//! cargo run -p pglock-examples --example sqlx-task-processing
//! ```

use std::process::ExitCode;

use pglock_examples::{program, task_processing};
use pglock_sqlx::{Locks, SqlxDriver};

#[tokio::main]
async fn main() -> ExitCode {
    program::run(
        |url| Ok(Locks::new(SqlxDriver::from_url(url)?)),
        async |locks| task_processing::run(locks).await,
    )
    .await
}
