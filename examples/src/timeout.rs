//! Waiting up to a timeout: a short wait fails with a timeout, a longer one gets the lock.

use std::time::Duration;

use pglock_core::{DistributedRwLock, ErrorKind};
use tokio::time::sleep;

use crate::{Result, ensure};

/// The key of the lock.
pub const NAME: &str = "pglock-examples/timeout";

const SHORT: Duration = Duration::from_millis(500);
/// Long enough for a few other terminals that come first.
const LONG: Duration = Duration::from_secs(25);

/// Waits for a held lock: first not long enough, and then long enough.
///
/// # Errors
///
/// Those of the lock, except for the one timeout that is expected.
pub async fn run(lock: &dyn DistributedRwLock) -> Result {
    let held = lock.write().await?;
    println!("the lock is held");

    println!("waiting for it for at most {SHORT:?}");
    match lock.try_write_for(SHORT).await {
        Err(error) if error.kind() == ErrorKind::Timeout => println!("timed out: {error}"),
        Err(error) => return Err(error.into()),
        Ok(_) => ensure(false, "no other caller gets a lock that is held")?,
    }

    println!("waiting for it for at most {LONG:?}");
    let release = async {
        sleep(Duration::from_secs(2)).await;
        println!("its holder releases it");
        held.release().await
    };
    // `tokio::time::timeout` around `write` does the same: every call may be dropped while it
    // waits.
    let (guard, ()) = tokio::try_join!(lock.try_write_for(LONG), release)?;
    println!("got it in time");
    Ok(guard.release().await?)
}
