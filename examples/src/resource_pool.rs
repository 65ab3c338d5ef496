//! A bounded pool: at most three jobs, of all processes together, use something at the same time.
//!
//! Each slot of the pool is a lock. The job that holds the lock has the slot.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::{select_all, try_join_all};
use pglock_core::{DistributedRwLock, LockProvider, NamedKey, WriteGuard};
use tokio::time::sleep;

use crate::{Result, ensure};

const SLOTS: usize = 3;
const JOBS: usize = 8;

/// Lets the jobs compete for the slots.
///
/// # Errors
///
/// Those of the locks; and if two jobs have the same slot.
pub async fn run(locks: &dyn LockProvider) -> Result {
    let pool: Vec<Slot> = (1..=SLOTS).map(|number| Slot::new(number, locks)).collect();
    try_join_all((1..=JOBS).map(|job| work(job, &pool))).await?;
    println!("{JOBS} jobs shared {SLOTS} slots");
    Ok(())
}

struct Slot {
    number: usize,
    lock: Box<dyn DistributedRwLock>,
    used: AtomicBool,
}

impl Slot {
    fn new(number: usize, locks: &dyn LockProvider) -> Self {
        let key = NamedKey::in_namespace("pglock-examples/resource-pool", &number.to_string());
        Self { number, lock: locks.rwlock(key), used: AtomicBool::new(false) }
    }
}

async fn work(job: usize, pool: &[Slot]) -> Result {
    let (slot, guard) = acquire(pool).await?;

    ensure(!slot.used.swap(true, Ordering::SeqCst), "a slot has one user at a time")?;
    println!("job {job}: has slot {}", slot.number);
    sleep(Duration::from_millis(700)).await;
    println!("job {job}: done");
    slot.used.store(false, Ordering::SeqCst);

    Ok(guard.release().await?)
}

/// A free slot, or the first one that becomes free.
async fn acquire(pool: &[Slot]) -> Result<(&Slot, WriteGuard)> {
    for slot in pool {
        if let Some(guard) = slot.lock.try_write().await? {
            return Ok((slot, guard));
        }
    }
    // Wait for all of them. Dropping the other futures leaves their queues, and nothing behind.
    let (guard, first, others) = select_all(pool.iter().map(|slot| slot.lock.write())).await;
    drop(others);
    Ok((&pool[first], guard?))
}
