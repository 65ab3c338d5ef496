//! Does a job that only one process may do at a time. Run it in two terminals at once:
//! `cargo run -p pglock-examples --example sqlx-basic`

use std::error::Error;
use std::time::Duration;

use pglock_sqlx::{Locks, SqlxDriver};
use pglock_testkit::postgres::TestServer;
use tokio::time::sleep;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let server = TestServer::shared().await?; // in your program: delete this line,
    let locks = Locks::new(SqlxDriver::from_url(server.url())?); // and use your own URL or pool

    let Some(guard) = locks.rwlock("pglock-examples/basic").try_write().await? else {
        println!("another process has the lock: leaving the job to it");
        return Ok(());
    };
    println!("got the lock: working for 5 seconds (start this in another terminal, too)");
    guard.protect(work()).await?; // stops the work if the lock is lost
    guard.release().await?; // confirms the release; dropping the guard releases, too
    println!("released: others can have the lock now");
    Ok(())
}

async fn work() {
    for second in 1..=5 {
        sleep(Duration::from_secs(1)).await;
        println!("  {second} of 5");
    }
}
