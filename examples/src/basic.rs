//! One job, wherever it is started: whoever gets the write lock does it, everybody else leaves it
//! alone.

use std::time::Duration;

use pglock_core::{DistributedRwLock, Result};
use tokio::time::sleep;

/// What is locked. All programs that use this name in one database meet on one lock.
pub const NAME: &str = "pglock-examples/basic";

/// Does the job, if nobody else is doing it.
///
/// # Errors
///
/// Those of the lock; among them [`Lost`](pglock_core::ErrorKind::Lost) if its session ended while
/// the job was being done.
pub async fn run(lock: &dyn DistributedRwLock) -> Result<()> {
    println!("asking for the write lock \"{NAME}\"");

    // Busy is an answer, not an error.
    let Some(guard) = lock.try_write().await? else {
        println!("the lock is held elsewhere: leaving the job to its holder");
        return Ok(());
    };

    println!("got the lock: working for 5 seconds (start this in another terminal, too)");
    tokio::select! {
        () = work() => println!("done: releasing the lock"),
        () = guard.lost() => println!("the lock was lost: stopping the work"),
    }

    // Dropping the guard would do; this waits until the server has confirmed it.
    guard.release().await?;
    println!("released: others can have it now");
    Ok(())
}

async fn work() {
    for second in 1..=5 {
        sleep(Duration::from_secs(1)).await;
        println!("  {second} of 5");
    }
}
