//! A web service in replicas: one payment of an invoice at a time, a leader, a nightly job,
//! metrics. Look for one payment and one 409 with its holder, and for the change of leaders at the
//! end.
//!
//! ```text
//! cargo run -p pglock-examples --features service --example diesel-service                             # two replicas and a client
//! cargo run -p pglock-examples --features service --example diesel-service -- --serve 127.0.0.1:8080   # one replica, until Ctrl-C
//! ```

use std::process::ExitCode;
use std::sync::Arc;

use pglock_diesel::diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use pglock_diesel::{DieselDriver, DieselSlots, Locks, run_exclusively};
use pglock_examples::{Result, program, service};

#[tokio::main]
async fn main() -> ExitCode {
    program::run_on(async |url| match program::address()? {
        Some(address) => serve(&address, url).await,
        None => service::run_replicas(url).await,
    })
    .await
}

async fn serve(address: &str, url: &str) -> Result {
    let driver = DieselDriver::from_url(url)?;
    let mut connection = AsyncPgConnection::establish(url).await?;
    // Stands for your migrations.
    run_exclusively(driver.clone(), connection.batch_execute(DieselSlots::TABLE)).await??;
    let slots = DieselSlots::new(driver.clone());
    service::run_replica(address, Locks::builder(driver), Arc::new(slots)).await
}
