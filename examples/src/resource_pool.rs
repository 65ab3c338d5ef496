//! A bounded pool: at most three jobs, of all processes together, use something at the same time.
//!
//! A semaphore has a permit for each slot of the pool, and a permit says which slot it stands for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use pglock_core::LockProvider;
use pglock_core::recipes::semaphore::Semaphore;
use tokio::time::sleep;

use crate::{Result, ensure};

const NAME: &str = "pglock-examples/resource-pool";
const SLOTS: usize = 3;
const JOBS: usize = 8;

/// Lets the jobs compete for the slots.
///
/// # Errors
///
/// Those of the locks; and if two jobs have the same slot.
pub async fn run(locks: Arc<dyn LockProvider>) -> Result {
    // With a lock manager at hand: `locks.semaphore(NAME, 3)`.
    let pool = Semaphore::new(locks, NAME, SLOTS as u32)?;
    let used = [const { AtomicBool::new(false) }; SLOTS];
    try_join_all((1..=JOBS).map(|job| work(job, &pool, &used))).await?;
    println!("{JOBS} jobs shared {SLOTS} slots");
    Ok(())
}

async fn work(job: usize, pool: &Semaphore, used: &[AtomicBool]) -> Result {
    let permit = pool.acquire().await?;
    let slot = permit.slots()[0] as usize;

    ensure(!used[slot].swap(true, Ordering::SeqCst), "a slot has one user at a time")?;
    println!("job {job}: has slot {}", slot + 1);
    permit.protect(sleep(Duration::from_millis(700))).await?;
    println!("job {job}: done");
    used[slot].store(false, Ordering::SeqCst);

    Ok(permit.release().await?)
}
