//! Three servers have the same timetable. Each time, one of them runs the job. Look for one line
//! per second, from any of the servers.
//!
//! ```text
//! cargo run -p pglock-examples --example sqlx-scheduled-job                # ends by itself
//! cargo run -p pglock-examples --example sqlx-scheduled-job -- --forever   # until Ctrl-C, in several terminals
//! ```

use std::process::ExitCode;
use std::sync::Arc;

use pglock_examples::{program, scheduled_job};
use pglock_sqlx::sqlx::{PgPool, raw_sql};
use pglock_sqlx::{Locks, SqlxDriver, SqlxSlots};

#[tokio::main]
async fn main() -> ExitCode {
    program::run_on(async |url| {
        let pool = PgPool::connect(url).await?;
        let locks = Locks::new(SqlxDriver::from_pool(&pool));
        // Yours belongs in your migrations.
        let table = locks.rwlock("pglock-examples/table").write().await?;
        raw_sql(SqlxSlots::TABLE).execute(&pool).await?;
        table.release().await?;
        let store = Arc::new(SqlxSlots::new(pool));
        scheduled_job::run(Arc::new(locks.clone()), store, program::forever()?).await?;
        Ok(locks.close().await?)
    })
    .await
}
