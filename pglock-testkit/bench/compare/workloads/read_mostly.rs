//! Many readers and a few writers in this process, and an occasional writer of another process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::observed;
use crate::Result;
use crate::bare::{self, Observer};
use crate::check::Checks;
use crate::load::{KEY, Load};
use crate::outcome::{Latencies, Outcome};
use crate::subject::Subject;
use crate::workload::{Slice, Workload};

/// The pause between two locks of the writer in the other process.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) async fn run<S: Subject>(slice: &Slice, load: Load) -> Result<Outcome> {
    // That writer comes rarely, so give it some turns.
    let load = Load { one_write_in: 20, length: slice.length * 2, ..load };
    let observer = Observer::connect(&slice.server).await?;
    let subject = match slice.workload {
        Workload::ReadMostlyShared => S::connect_sharing(&slice.url).await?,
        _ => S::connect(&slice.url).await?,
    };
    let checks = Arc::new(load.checks());
    let ready = load.prepare(&subject, checks.clone()).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write_from_outside(slice.server.clone(), checks, stop.clone()));
    let outcome = observed(&observer, load.length, ready).await;
    stop.store(true, Ordering::Relaxed);
    let mut outcome = outcome?;
    outcome.other_writer = Some(writer.await??);
    subject.close().await?;
    Ok(outcome)
}

/// A bare session waits in the server's queue, as another process would. Returns how long it
/// waited.
async fn write_from_outside(
    url: String,
    checks: Arc<Checks>,
    stop: Arc<AtomicBool>,
) -> Result<Latencies> {
    let client = bare::connect_uncounted(&url).await?;
    let lock = client.prepare("SELECT pg_advisory_lock($1)").await?;
    let unlock = client.prepare("SELECT pg_advisory_unlock($1)").await?;
    let mut waits = Latencies::new();
    while !stop.load(Ordering::Relaxed) {
        sleep(PAUSE).await;
        let begin = Instant::now();
        client.query_one(&lock, &[&KEY]).await?;
        waits.record(begin.elapsed());
        checks.enter(0, true)?;
        checks.leave(0, true);
        client.query_one(&unlock, &[&KEY]).await?;
    }
    Ok(waits)
}
