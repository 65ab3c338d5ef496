//! Readers and writers: readers hold the lock together, a writer holds it alone, and each blocks
//! the other.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pglock_core::{DistributedRwLock, NamedKey, ReadGuard, WriteGuard};
use tokio::time::sleep;

use crate::{Result, ensure};

const READERS: usize = 3;
const WORK: Duration = Duration::from_millis(500);

/// The key of the lock: another one in each run.
///
/// The three readers below wait for each other. A writer of another program could come between
/// them: it would wait for the first reader, the second reader for the writer, and the first for
/// the second. Never wait for a lock while you hold it.
pub fn key() -> NamedKey {
    let run = RandomState::new().hash_one(std::process::id());
    NamedKey::in_namespace("pglock-examples/read-write-locks", &run.to_string())
}

/// Readers, then a writer, then a reader again.
///
/// # Errors
///
/// Those of the lock; and if readers exclude each other, or readers and a writer do not.
pub async fn run(lock: &dyn DistributedRwLock) -> Result {
    let readers = readers_together(lock).await?;

    ensure(lock.try_write().await?.is_none(), "readers block a writer")?;
    println!("writer: blocked by the readers, waiting");
    let reading = AtomicUsize::new(READERS);
    let (writer, ()) = tokio::try_join!(write(lock, &reading), leave(readers, &reading))?;

    ensure(lock.try_read().await?.is_none(), "a writer blocks readers")?;
    println!("reader: blocked by the writer, waiting");
    let ((), ()) = tokio::try_join!(read(lock), finish(writer))?;
    Ok(())
}

async fn readers_together(lock: &dyn DistributedRwLock) -> Result<Vec<ReadGuard>> {
    let mut readers = Vec::new();
    for reader in 1..=READERS {
        readers.push(lock.read().await?);
        println!("reader {reader}: reading");
    }
    println!("{READERS} readers hold the lock together");
    Ok(readers)
}

async fn leave(readers: Vec<ReadGuard>, reading: &AtomicUsize) -> Result {
    for (reader, guard) in (1..).zip(readers) {
        sleep(WORK).await;
        println!("reader {reader}: done");
        reading.fetch_sub(1, Ordering::SeqCst);
        guard.release().await?;
    }
    Ok(())
}

async fn write(lock: &dyn DistributedRwLock, reading: &AtomicUsize) -> Result<WriteGuard> {
    let guard = lock.write().await?;
    ensure(reading.load(Ordering::SeqCst) == 0, "a writer waits for all readers")?;
    println!("writer: writing");
    Ok(guard)
}

async fn finish(writer: WriteGuard) -> Result {
    sleep(WORK).await;
    println!("writer: done");
    Ok(writer.release().await?)
}

async fn read(lock: &dyn DistributedRwLock) -> Result {
    let guard = lock.read().await?;
    println!("reader: reading");
    Ok(guard.release().await?)
}
