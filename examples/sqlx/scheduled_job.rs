//! Three servers have the same timetable. Each time, one of them runs the job.
//!
//! ```text
//! cargo run -p pglock-examples --example sqlx-scheduled-job                # ends by itself
//! cargo run -p pglock-examples --example sqlx-scheduled-job -- --forever   # until Ctrl-C, in several terminals
//! ```

use std::process::ExitCode;

use pglock_examples::{program, scheduled_job};
use pglock_sqlx::{Locks, SqlxDriver};

#[tokio::main]
async fn main() -> ExitCode {
    program::run(
        |url| Ok(Locks::new(SqlxDriver::from_url(url)?)),
        async |locks| {
            scheduled_job::run(&locks.rwlock(scheduled_job::NAME), program::forever()?).await
        },
    )
    .await
}
