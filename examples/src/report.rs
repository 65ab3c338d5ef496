//! A report for many requests at once: the first request builds it, the others wait and use it.
//!
//! Later requests wait for the *read* lock. All of them get it together as soon as the builder has
//! released the write lock. If the builder has died, the next request builds the report.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::try_join_all;
use pglock_core::DistributedRwLock;
use tokio::time::sleep;

use crate::{Result, ensure};

/// The key of the lock.
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
            println!("request {request}: another request is building it, waiting");
            lock.read().await?.release().await?;
            if let Some(report) = reports.stored() {
                println!("request {request}: has the report");
                return Ok(report);
            }
            // The builder has died, or runs in another terminal and keeps its reports there. Wait
            // in the queue, because any number of requests may find this at once, and tries would
            // only block each other.
            lock.write().await?
        }
    };
    // Under the lock: no other request builds it between this check and what follows.
    let report = match reports.stored() {
        Some(report) => report,
        None => {
            println!("request {request}: building the report");
            guard.protect(reports.build()).await?
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
