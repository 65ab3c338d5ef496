//! Many tasks wait for a key that another session holds.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::Result;
use crate::bare::{self, Observer};
use crate::check::Checks;
use crate::child::{self, Process};
use crate::load::KEY;
use crate::outcome::{Latencies, Outcome};
use crate::subject::{Subject, Worker};
use crate::workload::Slice;

/// Runs in a new process: an older one may have free memory that would hide the growth.
pub(super) async fn run(slice: &Slice) -> Result<Outcome> {
    let mut process = Process::start(slice)?;
    process.until_ready().await?;
    process.begin().await?;
    process.end().await
}

pub(super) async fn run_one<S: Subject>(slice: &Slice, waiters: usize) -> Result<Outcome> {
    let observer = Observer::connect(&slice.server).await?;
    let holder = bare::connect_uncounted(&slice.server).await?;
    let subject = S::connect(&slice.url).await?;
    let checks = Arc::new(Checks::new(1));
    let mut workers = Vec::with_capacity(waiters);
    for _ in 0..waiters {
        workers.push(subject.worker().await?);
    }
    let (done, mut results) = mpsc::unbounded_channel();
    let mut times = Vec::with_capacity(waiters);
    {
        // Whatever exists once, rather than for each waiter, exists before the memory is measured.
        let worker = subject.worker().await?;
        let guard = worker.write(KEY + 1).await?;
        worker.release(guard).await?;
    }
    child::until_started().await?;

    holder.query_one("SELECT pg_advisory_lock($1)", &[&KEY]).await?;
    let before = resident()?;
    for worker in workers {
        tokio::spawn(wait(worker, checks.clone(), done.clone()));
    }
    drop(done);
    observer.until_waiting().await?;
    // There is no sign that the last of the tasks has begun to wait.
    sleep(Duration::from_millis(500)).await;
    let memory = resident()?.saturating_sub(before);
    let connections = observer.connections().await?;

    let begin = Instant::now();
    holder.query_one("SELECT pg_advisory_unlock($1)", &[&KEY]).await?;
    while let Some(result) = results.recv().await {
        times.push(result?);
    }
    if times.len() != waiters {
        return Err(format!("{} of {waiters} waiters were served", times.len()).into());
    }
    let mut latencies = Latencies::new();
    let mut last = begin;
    for time in times {
        latencies.record(time - begin);
        last = last.max(time);
    }
    let mut outcome = Outcome::new((last - begin).as_secs_f64(), vec![1; waiters], latencies);
    outcome.connections = connections;
    outcome.figure("served_ms", outcome.seconds * 1e3);
    outcome.figure("bytes_per_waiter", memory as f64 / waiters as f64);
    subject.close().await?;
    Ok(outcome)
}

/// Waits for its turn, and reports when the turn was over.
async fn wait<W: Worker>(
    worker: W,
    checks: Arc<Checks>,
    done: mpsc::UnboundedSender<Result<Instant>>,
) {
    let turn = async {
        let guard = worker.write(KEY).await?;
        checks.enter(0, true)?;
        checks.leave(0, true);
        worker.release(guard).await?;
        Ok(Instant::now())
    };
    // If the receiver is gone, it has returned an earlier error.
    let _ = done.send(turn.await);
}

/// The memory of this process, in bytes.
fn resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let size = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(size.ok_or("the system does not tell the memory of a process")?.parse::<u64>()? * 1024)
}
