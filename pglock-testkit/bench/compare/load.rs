//! Tasks that acquire and release as fast as they can.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Barrier;
use tokio::task::{JoinSet, spawn_blocking};

use crate::Result;
use crate::check::Checks;
use crate::outcome::{Latencies, Outcome};
use crate::subject::{Subject, Worker};
use crate::workload::Slice;

/// The key that all tasks want. The keys after it belong to single tasks.
pub(crate) const KEY: i64 = 1 << 40;

/// Keys that a task uses in turn where no other task wants them. With a single one, a lock released
/// by drop could be taken again before its release has left the process, and nothing would be
/// measured.
const KEYS_OF_TASK: usize = 16;

#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) tasks: usize,
    /// Each task has keys of its own.
    pub(crate) own_keys: bool,
    /// One operation in this many writes.
    pub(crate) one_write_in: usize,
    pub(crate) release_by_drop: bool,
    /// How long the lock is held.
    pub(crate) section: Duration,
    pub(crate) length: Duration,
}

/// The number of tasks whose connections are open.
pub(crate) struct Ready {
    tasks: JoinSet<Result<Share>>,
    gate: Arc<Barrier>,
}

/// What one task has done.
struct Share {
    ops: u64,
    latencies: Latencies,
    begin: Instant,
    end: Instant,
}

impl Load {
    /// One task, with keys that no other task wants.
    pub(crate) fn single(slice: &Slice) -> Self {
        Self {
            tasks: 1,
            own_keys: true,
            one_write_in: 1,
            release_by_drop: slice.workload.releases_by_drop(),
            section: Duration::ZERO,
            length: slice.length,
        }
    }

    pub(crate) fn checks(&self) -> Checks {
        Checks::new(if self.own_keys { self.tasks * KEYS_OF_TASK } else { 1 })
    }

    pub(crate) async fn prepare<S: Subject>(
        self,
        subject: &S,
        checks: Arc<Checks>,
    ) -> Result<Ready> {
        let mut workers = Vec::new();
        for _ in 0..self.tasks {
            workers.push(subject.worker().await?);
        }
        self.prepare_with(workers, checks).await
    }

    pub(crate) async fn prepare_with<W: Worker>(
        self,
        workers: Vec<W>,
        checks: Arc<Checks>,
    ) -> Result<Ready> {
        let gate = Arc::new(Barrier::new(workers.len() + 1));
        let mut tasks = JoinSet::new();
        for (task, worker) in workers.into_iter().enumerate() {
            tasks.spawn(self.work(worker, task, checks.clone(), gate.clone()));
        }
        let mut ready = Ready { tasks, gate };
        ready.pass_gate().await?;
        ready.pass_gate().await?;
        Ok(ready)
    }

    async fn work<W: Worker>(
        self,
        worker: W,
        task: usize,
        checks: Arc<Checks>,
        gate: Arc<Barrier>,
    ) -> Result<Share> {
        // All tasks hold a lock at the same time, so every connection is open before the
        // measurement begins.
        let own = i64::from(std::process::id()) << 16 | i64::try_from(task)?;
        let held = worker.write(own).await?;
        gate.wait().await;
        // A subject that cannot release in this way fails here, where no caller waits for the lock.
        self.release(&worker, held).await?;
        gate.wait().await;

        let mut latencies = Latencies::new();
        let mut ops = 0_usize;
        gate.wait().await;
        let begin = Instant::now();
        let mut last = begin;
        while last - begin < self.length {
            let place = if self.own_keys { task * KEYS_OF_TASK + ops % KEYS_OF_TASK } else { 0 };
            let key = KEY + i64::try_from(place)?;
            let write = (ops + task).is_multiple_of(self.one_write_in);
            let guard = if write { worker.write(key).await? } else { worker.read(key).await? };
            checks.enter(place, write)?;
            if !self.section.is_zero() {
                // tokio's clock ticks once per millisecond, which is too coarse here.
                spawn_blocking(move || thread::sleep(self.section)).await?;
            }
            checks.leave(place, write);
            self.release(&worker, guard).await?;
            ops += 1;
            let now = Instant::now();
            latencies.record(now - last);
            last = now;
        }
        Ok(Share { ops: ops as u64, latencies, begin, end: last })
    }

    async fn release<W: Worker>(&self, worker: &W, guard: W::Guard) -> Result<()> {
        match self.release_by_drop {
            true => worker.let_go(guard).await,
            false => worker.release(guard).await,
        }
    }
}

impl Ready {
    /// Runs the tasks to their end.
    pub(crate) async fn go(mut self) -> Result<Outcome> {
        self.pass_gate().await?;
        let mut latencies = Latencies::new();
        let (mut task_ops, mut begins, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(share) = self.tasks.join_next().await {
            let share = share??;
            latencies.add(&share.latencies);
            task_ops.push(share.ops);
            begins.push(share.begin);
            ends.push(share.end);
        }
        let (begin, end) = (begins.into_iter().min(), ends.into_iter().max());
        let (Some(begin), Some(end)) = (begin, end) else {
            return Err("there were no tasks".into());
        };
        Ok(Outcome::new((end - begin).as_secs_f64(), task_ops, latencies))
    }

    async fn pass_gate(&mut self) -> Result<()> {
        tokio::select! {
            _ = self.gate.wait() => Ok(()),
            Some(ended) = self.tasks.join_next() => match ended? {
                Err(error) => Err(error),
                Ok(_) => Err("a task ended early".into()),
            },
        }
    }
}
