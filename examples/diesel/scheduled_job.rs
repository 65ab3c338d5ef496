//! Three servers have the same timetable. Each time, one of them runs the job. Look for one line
//! per second, from any of the servers.
//!
//! ```text
//! cargo run -p pglock-examples --example diesel-scheduled-job                # ends by itself
//! cargo run -p pglock-examples --example diesel-scheduled-job -- --forever   # until Ctrl-C, in several terminals
//! ```

use std::process::ExitCode;
use std::sync::Arc;

use pglock_diesel::diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use pglock_diesel::{DieselDriver, DieselSlots, Locks};
use pglock_examples::{program, scheduled_job};

#[tokio::main]
async fn main() -> ExitCode {
    program::run_on(async |url| {
        let driver = DieselDriver::from_url(url)?;
        let locks = Locks::new(driver.clone());
        // Yours belongs in your migrations.
        let table = locks.rwlock("pglock-examples/table").write().await?;
        let mut connection = AsyncPgConnection::establish(url).await?;
        connection.batch_execute(DieselSlots::TABLE).await?;
        table.release().await?;
        let store = Arc::new(DieselSlots::new(driver));
        scheduled_job::run(Arc::new(locks.clone()), store, program::forever()?).await?;
        Ok(locks.close().await?)
    })
    .await
}
