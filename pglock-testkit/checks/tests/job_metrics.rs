//! What scheduled jobs publish through the crate `metrics`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use pglock_core::recipes::schedule::{Job, MemorySlots, Slot};
use pglock_testkit::memory::MemoryServer;

const PERIOD: Duration = Duration::from_secs(10);

/// Published before the first run: Prometheus sees no increase in a series that begins with 1.
const RESULTS: [&str; 5] = [
    "runs_total done",
    "runs_total failed",
    "runs_total lost",
    "runs_total panicked",
    "runs_total stopped",
];

#[test]
fn jobs_publish_their_runs() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(publish(&snapshotter)));
}

async fn publish(snapshotter: &Snapshotter) {
    let time = Arc::new(AtomicI64::new(5_000_000));
    let clock = time.clone();
    let clock = move || Slot::from_micros(clock.load(SeqCst)).time();
    let store = Arc::new(MemorySlots::new().with_clock(clock));
    let job = MemoryServer::new().locks().job("job", store).every(PERIOD);
    let job = job.take_over_after(Duration::ZERO).at_least_once().unwrap();
    run(&job, true).await;
    let none = RESULTS.map(|result| (result, 0.0));
    assert_eq!(published(snapshotter), values(none.into_iter().chain([("running", 0.0)])));
    time.store(10_000_000, SeqCst);
    run(&job, false).await;
    let failed = [("last_slot_timestamp_seconds", 5.0), ("run_seconds", 1.0), ("running", 0.0)];
    let failed = none.into_iter().chain(failed).chain([("runs_total failed", 1.0)]);
    assert_eq!(published(snapshotter), values(failed));
    run(&job, true).await;
    run(&job, true).await;
    let done = published(snapshotter);
    assert_eq!(done.get("runs_total done"), Some(&1.0));
    assert_eq!(done.get("last_slot_timestamp_seconds"), Some(&10.0));
}

/// Runs the slot that is due, if there is one.
async fn run(job: &Job, is_done: bool) {
    job.run_due(async |_| is_done.then_some(()).ok_or("it fails")).await.unwrap();
}

fn values<'a>(values: impl IntoIterator<Item = (&'a str, f64)>) -> BTreeMap<String, f64> {
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What has been published since the last call, by name and result; of a histogram, how many values.
fn published(snapshotter: &Snapshotter) -> BTreeMap<String, f64> {
    let mut values = BTreeMap::new();
    for (key, unit, description, value) in snapshotter.snapshot().into_vec() {
        let Some(name) = key.key().name().strip_prefix("pglock_job_") else { continue };
        assert!(unit.is_some() && description.is_some(), "{name} is not described");
        let mut name = name.to_owned();
        for label in key.key().labels() {
            match label.key() {
                "job_name" => assert_eq!(label.value(), "job"),
                "result" => name = format!("{name} {}", label.value()),
                other => panic!("unknown label {other}"),
            }
        }
        let value = match value {
            DebugValue::Counter(value) => value as f64,
            DebugValue::Gauge(value) => value.into_inner(),
            DebugValue::Histogram(values) => values.len() as f64,
        };
        values.insert(name, value);
    }
    values
}
