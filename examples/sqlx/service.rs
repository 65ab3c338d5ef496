//! A web service in replicas: one payment of an invoice at a time, a leader, a nightly job,
//! metrics. Look for one payment and one 409 with its holder, and for the change of leaders at the
//! end.
//!
//! ```text
//! cargo run -p pglock-examples --features service --example sqlx-service                             # two replicas and a client
//! cargo run -p pglock-examples --features service --example sqlx-service -- --serve 127.0.0.1:8080   # one replica, until Ctrl-C
//! ```

use std::process::ExitCode;
use std::sync::Arc;

use pglock_examples::{Result, program, service};
use pglock_sqlx::sqlx::{AssertSqlSafe, PgPool, raw_sql};
use pglock_sqlx::{Locks, SqlxDriver, SqlxSlots, run_exclusively};

#[tokio::main]
async fn main() -> ExitCode {
    program::run_on(async |url| match program::address()? {
        Some(address) => serve(&address, url).await,
        None => service::run_replicas(url).await,
    })
    .await
}

async fn serve(address: &str, url: &str) -> Result {
    let pool = PgPool::connect(url).await?;
    let driver = SqlxDriver::from_pool(&pool);
    // Stands for your migrations.
    let table = raw_sql(AssertSqlSafe(SqlxSlots::TABLE)).execute(&pool);
    run_exclusively(driver.clone(), table).await??;
    service::run_replica(address, Locks::builder(driver), Arc::new(SqlxSlots::new(pool))).await
}
