//! Tasks that must not be processed twice at the same time: each has a lock of its own, whose key
//! comes from its name.
//!
//! A queue that delivers "at least once" may hand a task to several workers. The first to get its
//! lock processes it; the others report that it is being processed and go on to the next. A lock
//! shows what is being done, not what has been done. If a task may come again later, keep a record,
//! and check it under the lock, as the scenario `scheduled-job` does.

use std::time::Duration;

use futures::future::try_join_all;
use pglock_core::{LockProvider, NamedKey};
use tokio::sync::Barrier;
use tokio::time::sleep;

use crate::{Result, ensure};

const TASKS: [&str; 4] = ["send-welcome-mail", "resize-image", "charge-card", "build-invoice"];
const WORKERS: usize = 3;

#[derive(PartialEq)]
enum Outcome {
    Processed,
    AlreadyProcessing,
}

/// Hands every task to every worker.
///
/// # Errors
///
/// Those of the locks; and if a task is processed twice.
pub async fn run(locks: &dyn LockProvider) -> Result {
    for task in TASKS {
        println!("task {task}, key {}", key(task).key());
        // Every worker has had an answer before the task is done, so exactly one can have processed
        // it.
        let delivered = Barrier::new(WORKERS);
        let deliveries = (1..=WORKERS).map(|worker| process(worker, task, locks, &delivered));
        let outcomes = try_join_all(deliveries).await?;

        let processed = outcomes.iter().filter(|outcome| **outcome == Outcome::Processed).count();
        ensure(processed <= 1, "a task is processed once")?;
        if processed == 0 {
            println!("  left to another program");
        }
    }
    println!("no task was processed twice");
    Ok(())
}

fn key(task: &str) -> NamedKey {
    NamedKey::in_namespace("pglock-examples/task-processing", task)
}

async fn process(
    worker: usize,
    task: &str,
    locks: &dyn LockProvider,
    delivered: &Barrier,
) -> Result<Outcome> {
    let lock = locks.rwlock(key(task));
    let Some(guard) = lock.try_write().await? else {
        println!("  worker {worker}: already processing");
        delivered.wait().await;
        return Ok(Outcome::AlreadyProcessing);
    };
    println!("  worker {worker}: processing");
    // Stands for the task: it is stopped if the lock is lost.
    guard.protect(sleep(Duration::from_millis(500))).await?;
    delivered.wait().await;
    println!("  worker {worker}: processed");
    guard.release().await?;
    Ok(Outcome::Processed)
}
