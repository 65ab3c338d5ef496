//! A job with a timetable that every server of a service knows: each time, one server runs it and
//! the others leave it.
//!
//! The lock keeps two servers from running it at the same time, and a record of the last run, which
//! is read and written under the lock, keeps a server that is late from running it once more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, SystemTimeError};

use futures::future::try_join_all;
use pglock_core::DistributedRwLock;
use tokio::time::sleep;

use crate::{Result, ensure};

/// The key of the lock.
pub const NAME: &str = "pglock-examples/scheduled-job";

const SERVERS: usize = 3;
const TIMES: usize = 3;
/// The job is due whenever the clock, which all servers share, shows a multiple of this many
/// seconds.
const PERIOD: u64 = 2;

/// Starts the servers, for three times of the timetable or `forever`.
///
/// # Errors
///
/// Those of the lock; and if the job is run twice for one time.
pub async fn run(lock: &dyn DistributedRwLock, forever: bool) -> Result {
    let job = Job::default();
    let next = now()?.as_secs() / PERIOD + 1;
    let times = if forever { usize::MAX } else { TIMES };
    try_join_all((1..=SERVERS).map(|server| serve(server, next, times, lock, &job))).await?;
    println!("no time saw the job run twice");
    Ok(())
}

async fn serve(
    server: usize,
    next: u64,
    times: usize,
    lock: &dyn DistributedRwLock,
    job: &Job,
) -> Result {
    for time in (next..).take(times) {
        let due = time * PERIOD;
        sleep(Duration::from_secs(due).saturating_sub(now()?)).await;
        let due = format!("the job of second {:02}", due % 60);
        let Some(guard) = lock.try_write().await? else {
            println!("server {server}: {due} is being run by another server");
            continue;
        };
        // Under the lock: no other server runs it between this check and what follows.
        if job.last_done.load(Ordering::SeqCst) < time {
            println!("server {server}: running {due}");
            job.run(time).await?;
        } else {
            println!("server {server}: {due} has been run");
        }
        guard.release().await?;
    }
    Ok(())
}

fn now() -> Result<Duration, SystemTimeError> {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)
}

#[derive(Default)]
struct Job {
    last_started: AtomicU64,
    /// Stands for a row in your database.
    last_done: AtomicU64,
}

impl Job {
    async fn run(&self, time: u64) -> Result {
        let before = self.last_started.swap(time, Ordering::SeqCst);
        ensure(before < time, "the job is run once for each time")?;
        sleep(Duration::from_millis(500)).await;
        self.last_done.store(time, Ordering::SeqCst);
        Ok(())
    }
}
