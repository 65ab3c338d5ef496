//! Five workers share something that only one may use at a time: they wait for it and use it one
//! after the other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use pglock_core::DistributedRwLock;
use tokio::time::sleep;

use crate::{Result, ensure};

/// The key of the lock.
pub const NAME: &str = "pglock-examples/workers";

const WORKERS: usize = 5;

/// Lets the workers work.
///
/// # Errors
///
/// Those of the lock; and if two workers work at the same time.
pub async fn run(lock: &dyn DistributedRwLock) -> Result {
    // In a service, these are tasks with an `Arc<dyn DistributedRwLock>`.
    let busy = AtomicBool::new(false);
    try_join_all((1..=WORKERS).map(|worker| work(worker, lock, &busy))).await?;
    println!("all {WORKERS} have worked, one at a time");
    Ok(())
}

async fn work(worker: usize, lock: &dyn DistributedRwLock, busy: &AtomicBool) -> Result {
    println!("worker {worker}: waiting");
    let guard = lock.write().await?;

    ensure(!busy.swap(true, Ordering::SeqCst), "workers work one at a time")?;
    println!("worker {worker}: working");
    // Stands for the work: it is stopped if the lock is lost.
    guard.protect(sleep(Duration::from_millis(500))).await?;
    println!("worker {worker}: done");
    busy.store(false, Ordering::SeqCst);

    Ok(guard.release().await?)
}
