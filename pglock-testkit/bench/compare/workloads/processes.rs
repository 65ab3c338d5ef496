//! Four processes want one key.

use std::sync::Arc;

use super::connections_after;
use crate::Result;
use crate::bare::Observer;
use crate::check::{Checks, no_overlap};
use crate::child::{self, Process};
use crate::load::Load;
use crate::outcome::{Latencies, Outcome};
use crate::subject::Subject;
use crate::workload::Slice;

const PROCESSES: usize = 4;
const TASKS: usize = 16;

/// The number of slices: fairness takes a while to show.
const SLICES: u32 = 25;

pub(super) async fn run(slice: &Slice) -> Result<Outcome> {
    let slice = Slice { length: slice.length * SLICES, ..slice.clone() };
    let observer = Observer::connect(&slice.server).await?;
    let mut processes = Vec::new();
    for _ in 0..PROCESSES {
        processes.push(Process::start(&slice)?);
    }
    for process in &mut processes {
        process.until_ready().await?;
    }
    for process in &mut processes {
        process.begin().await?;
    }
    let connections = connections_after(&observer, slice.length / 2).await?;

    let mut latencies = Latencies::new();
    let (mut seconds, mut shares) = (0_f64, Vec::new());
    let (mut task_ops, mut runs) = (Vec::new(), Vec::new());
    for process in processes {
        let outcome = process.end().await?;
        seconds = seconds.max(outcome.seconds);
        latencies.add(&outcome.latencies);
        shares.push(outcome.task_ops.iter().sum());
        task_ops.extend(outcome.task_ops);
        runs.extend(outcome.runs);
    }
    no_overlap(runs)?;
    let mut outcome = Outcome::new(seconds, task_ops, latencies);
    outcome.connections = connections;
    outcome.figure("jain", jain(&shares));
    Ok(outcome)
}

/// One of the processes.
pub(super) async fn run_one<S: Subject>(slice: &Slice) -> Result<Outcome> {
    let load = Load { tasks: TASKS, own_keys: false, ..Load::single(slice) };
    let checks = Arc::new(Checks::with_runs());
    let subject = S::connect(&slice.url).await?;
    let ready = load.prepare(&subject, checks.clone()).await?;
    child::until_started().await?;
    let mut outcome = ready.go().await?;
    outcome.runs = checks.take_runs();
    subject.close().await?;
    Ok(outcome)
}

/// Jain's fairness index: 1 if all shares are equal, 1/n if one of n has everything.
fn jain(shares: &[u64]) -> f64 {
    let shares: Vec<f64> = shares.iter().map(|&share| share as f64).collect();
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    sum * sum / (shares.len() as f64 * squares)
}
