//! Holding many keys at once: how many, and at what cost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pglock_examples::in_one_line;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::observed;
use crate::Result;
use crate::bare::Observer;
use crate::load::{KEY, Load};
use crate::outcome::{Latencies, Outcome};
use crate::subject::{Subject, Worker};
use crate::workload::Slice;

/// The number of keys requested at the same time.
const AT_ONCE: usize = 64;

/// No other session wants these keys, so an acquire that takes longer will not succeed.
const PATIENCE: Duration = Duration::from_secs(2);

/// The time limit for taking keys.
const LONGEST: Duration = Duration::from_secs(10);

/// Takes keys until the subject or the server has no more.
pub(super) async fn to_the_limit<S: Subject>(slice: &Slice) -> Result<Outcome> {
    let observer = Observer::connect(&slice.server).await?;
    let subject = S::connect(&slice.url).await?;
    let worker = subject.worker().await?;
    let begin = Instant::now();
    let (mut guards, mut held, mut connections) = (Vec::new(), 0, 0);
    let limit = loop {
        let error = hold_more(&worker, AT_ONCE, &mut guards).await.err();
        // A full lock table refuses this query too; then the previous results stand.
        if let Ok(count) = observer.held().await {
            if count < guards.len() as u64 {
                break format!("locks were lost: {count} of {}", guards.len());
            }
            held = count;
            connections = observer.connections().await.unwrap_or(connections);
        }
        if let Some(error) = error {
            break in_one_line(&*error);
        }
        if begin.elapsed() > LONGEST {
            break "time".to_owned();
        }
    };
    let mut outcome = Outcome::new(begin.elapsed().as_secs_f64(), vec![held], Latencies::new());
    outcome.connections = connections;
    outcome.figure("held", held as f64);
    outcome.limit = Some(limit);
    drop(guards);
    drop(worker);
    subject.close().await?;
    Ok(outcome)
}

/// Acquires and releases one key while others are held. The number of held locks includes that one,
/// since a subject may have a cap.
pub(super) async fn cost<S: Subject>(slice: &Slice, keys: usize) -> Result<Outcome> {
    let others = keys.saturating_sub(1);
    let observer = Observer::connect(&slice.server).await?;
    let subject = S::connect(&slice.url).await?;
    let worker = subject.worker().await?;
    let mut held = Vec::new();
    while held.len() < others {
        let missing = AT_ONCE.min(others - held.len());
        hold_more(&worker, missing, &mut held).await?;
    }
    let load = Load::single(slice);
    let ready = load.prepare_with(vec![worker], Arc::new(load.checks())).await?;
    let outcome = observed(&observer, load.length, ready).await?;
    drop(held);
    subject.close().await?;
    Ok(outcome)
}

async fn hold_more<W: Worker>(worker: &W, count: usize, held: &mut Vec<W::Guard>) -> Result<()> {
    let mut tasks = JoinSet::new();
    for next in 0..count {
        // Beyond the keys that the load uses.
        let key = KEY + 1_000 + i64::try_from(held.len() + next)?;
        let worker = worker.clone();
        tasks.spawn(async move { timeout(PATIENCE, worker.write(key)).await });
    }
    let mut outcome = Ok(());
    while let Some(taken) = tasks.join_next().await {
        match taken? {
            Ok(Ok(guard)) => held.push(guard),
            Ok(Err(error)) => outcome = Err(error),
            Err(_) => outcome = Err("no connection came free within 2 s".into()),
        }
    }
    outcome
}
