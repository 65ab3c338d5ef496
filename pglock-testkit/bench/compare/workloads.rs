//! Runs the workloads.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::Result;
use crate::bare::Observer;
use crate::load::{Load, Ready};
use crate::outcome::Outcome;
use crate::subject::Subject;
use crate::workload::{Slice, Workload};

mod hold;
mod processes;
mod read_mostly;
mod waiters;

/// A slice that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) async fn run<S: Subject>(slice: Slice) -> Result<Outcome> {
    timeout(PATIENCE, begin::<S>(slice)).await.map_err(|_| "took longer than 90 s")?
}

async fn begin<S: Subject>(slice: Slice) -> Result<Outcome> {
    let single = Load::single(&slice);
    let own_keys = Load { tasks: 64, ..single };
    let one_key = Load { own_keys: false, ..own_keys };
    match slice.workload {
        Workload::Uncontended | Workload::UncontendedDrop => steady::<S>(&slice, single).await,
        Workload::OwnKeys | Workload::OwnKeysDrop => steady::<S>(&slice, own_keys).await,
        Workload::OneKey | Workload::OneKeyDrop => steady::<S>(&slice, one_key).await,
        Workload::OneKeyMillisecond => {
            let load = Load { section: Duration::from_millis(1), ..one_key };
            steady::<S>(&slice, load).await
        }
        Workload::Processes | Workload::ProcessesDrop => processes::run(&slice).await,
        Workload::ReadMostly | Workload::ReadMostlyDrop | Workload::ReadMostlyShared => {
            read_mostly::run::<S>(&slice, one_key).await
        }
        Workload::Hold => hold::to_the_limit::<S>(&slice).await,
        Workload::HoldNone => hold::cost::<S>(&slice, 0).await,
        Workload::HoldHundred => hold::cost::<S>(&slice, 100).await,
        Workload::HoldThousand => hold::cost::<S>(&slice, 1_000).await,
        Workload::WaitersThousand | Workload::WaitersTenThousand => waiters::run(&slice).await,
    }
}

pub(crate) async fn run_child<S: Subject>(slice: Slice) -> Result<Outcome> {
    match slice.workload {
        Workload::Processes | Workload::ProcessesDrop => processes::run_one::<S>(&slice).await,
        Workload::WaitersThousand => waiters::run_one::<S>(&slice, 1_000).await,
        Workload::WaitersTenThousand => waiters::run_one::<S>(&slice, 10_000).await,
        _ => Err("this workload is done in one process".into()),
    }
}

/// The same tasks do the same all the time.
async fn steady<S: Subject>(slice: &Slice, load: Load) -> Result<Outcome> {
    let observer = Observer::connect(&slice.server).await?;
    let subject = S::connect(&slice.url).await?;
    let ready = load.prepare(&subject, Arc::new(load.checks())).await?;
    let outcome = observed(&observer, load.length, ready).await?;
    subject.close().await?;
    Ok(outcome)
}

/// Runs the tasks and counts the connections half-way.
async fn observed(observer: &Observer, length: Duration, ready: Ready) -> Result<Outcome> {
    let (mut outcome, connections) =
        tokio::try_join!(ready.go(), connections_after(observer, length / 2))?;
    outcome.connections = connections;
    Ok(outcome)
}

async fn connections_after(observer: &Observer, time: Duration) -> Result<u64> {
    sleep(time).await;
    observer.connections().await
}
