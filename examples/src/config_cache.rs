//! Settings that are read often and changed rarely: readers load them together, and never see half
//! a change.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use pglock_core::DistributedRwLock;
use tokio::time::sleep;

use crate::{Result, ensure};

/// The key of the lock.
pub const NAME: &str = "pglock-examples/config-cache";

const READERS: usize = 5;
const LAST_VERSION: u32 = 3;

/// Lets readers load the settings again and again while a writer refreshes them.
///
/// # Errors
///
/// Those of the lock; and if a reader sees a half-made change.
pub async fn run(lock: &dyn DistributedRwLock) -> Result {
    let settings = Settings::default();
    let readers = try_join_all((1..=READERS).map(|reader| read(reader, lock, &settings)));
    let (loads, ()) = tokio::try_join!(readers, refresh(lock, &settings))?;
    println!("{} consistent loads by {READERS} readers", loads.iter().sum::<u32>());
    Ok(())
}

/// Stands for what cannot be changed at one stroke, such as two files: both parts must be of one
/// version.
#[derive(Default)]
struct Settings {
    routes: AtomicU32,
    limits: AtomicU32,
}

impl Settings {
    async fn change_to(&self, version: u32) {
        self.routes.store(version, Ordering::SeqCst);
        sleep(Duration::from_millis(300)).await;
        self.limits.store(version, Ordering::SeqCst);
    }
}

/// Keeps a copy up to date until it is of the last version; how often the settings were loaded for
/// that.
async fn read(reader: usize, lock: &dyn DistributedRwLock, settings: &Settings) -> Result<u32> {
    let mut cached = None;
    let mut loads = 0;
    while cached != Some(LAST_VERSION) {
        let guard = lock.read().await?;
        let routes = settings.routes.load(Ordering::SeqCst);
        sleep(Duration::from_millis(20)).await;
        let limits = settings.limits.load(Ordering::SeqCst);
        guard.release().await?;

        ensure(routes == limits, "a reader sees all of a change or nothing")?;
        loads += 1;
        if cached.replace(routes) != Some(routes) {
            println!("reader {reader}: version {routes}");
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(loads)
}

async fn refresh(lock: &dyn DistributedRwLock, settings: &Settings) -> Result {
    for version in 1..=LAST_VERSION {
        sleep(Duration::from_millis(500)).await;
        // Readers do not starve the writer: those that come later wait behind it.
        let guard = lock.write().await?;
        println!("writer: refreshing to version {version}");
        guard.protect(settings.change_to(version)).await?;
        guard.release().await?;
    }
    Ok(())
}
