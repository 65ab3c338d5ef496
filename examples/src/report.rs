//! A report that many ask for at once: the first builds it, the others wait for that and use it.
//!
//! Who comes later waits for the *read* lock. All of them get it together as soon as the builder
//! has released the write lock; and if the builder has died, the next one builds.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::try_join_all;
use pglock_core::DistributedRwLock;
use tokio::time::sleep;

use crate::{Result, ensure};

/// What is locked.
pub const NAME: &str = "pglock-examples/report";

const REQUESTS: usize = 4;

/// Asks for the report several times at once.
///
/// # Errors
///
/// Those of the lock; and if the report is built twice.
pub async fn run(lock: &dyn DistributedRwLock) -> Result {
    let reports = Reports::default();
    let got = try_join_all((1..=REQUESTS).map(|request| get(request, lock, &reports))).await?;
    ensure(got.iter().all(|report| *report == got[0]), "all get the same report")?;
    ensure(reports.built.load(Ordering::SeqCst) == 1, "the report is built once")?;
    println!("built once, used {REQUESTS} times");
    Ok(())
}

async fn get(request: usize, lock: &dyn DistributedRwLock, reports: &Reports) -> Result<String> {
    let guard = match lock.try_write().await? {
        Some(guard) => guard,
        None => {
            println!("request {request}: somebody is building it, waiting");
            lock.read().await?.release().await?;
            if let Some(report) = reports.stored() {
                println!("request {request}: has the report");
                return Ok(report);
            }
            // Its builder has died, or is another terminal, which stores its reports elsewhere. In
            // line, since any number may find this at once: tries would only get into each other's
            // way.
            lock.write().await?
        }
    };
    // Under the lock: nobody builds it between this look and what follows from it.
    let report = match reports.stored() {
        Some(report) => report,
        None => {
            println!("request {request}: building the report");
            reports.build().await
        }
    };
    guard.release().await?;
    println!("request {request}: has the report");
    Ok(report)
}

/// Stands for where your reports are stored.
#[derive(Default)]
struct Reports {
    stored: Mutex<Option<String>>,
    built: AtomicU32,
}

impl Reports {
    fn stored(&self) -> Option<String> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn build(&self) -> String {
        sleep(Duration::from_secs(2)).await;
        let edition = self.built.fetch_add(1, Ordering::SeqCst) + 1;
        let report = format!("daily report, edition {edition}");
        *self.stored.lock().unwrap_or_else(PoisonError::into_inner) = Some(report.clone());
        report
    }
}
