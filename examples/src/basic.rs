//! Do a piece of work in one process at a time, and in the others not at all.

use std::time::Duration;

use pglock_core::DistributedRwLock;
use tokio::time::sleep;

use crate::Outcome;

/// Works for five seconds if nobody else does.
///
/// # Errors
///
/// If the server cannot be reached, or the lock was lost while working.
pub async fn basic(lock: &dyn DistributedRwLock) -> Outcome {
    println!("Asking for the lock {}.", lock.key());
    let Some(guard) = lock.try_write().await? else {
        println!("The lock is held elsewhere: nothing to do here.");
        return Ok(());
    };
    println!("Got the lock. Start this example in another terminal now to see it refused.");
    for second in 1..=5 {
        sleep(Duration::from_secs(1)).await;
        if !guard.is_held() {
            return Err("the lock was lost: somebody else may be working now".into());
        }
        println!("Working: {second} of 5 seconds.");
    }
    guard.release().await?;
    println!("Released the lock.");
    Ok(())
}
