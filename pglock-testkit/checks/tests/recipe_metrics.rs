//! What scheduled jobs and semaphores publish through the crate `metrics`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use pglock_core::ErrorKind;
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

/// The metrics of a recipe.
struct Family {
    prefix: &'static str,
    /// The label with the name of what is measured, and that name.
    name: (&'static str, &'static str),
    /// The label that tells its series apart.
    apart: &'static str,
}

const JOB: Family = Family { prefix: "pglock_job_", name: ("job_name", "job"), apart: "result" };

const POOL: Family =
    Family { prefix: "pglock_semaphore_", name: ("semaphore", "pool"), apart: "kind" };

#[test]
fn jobs_publish_their_runs() {
    record(run_jobs);
}

#[test]
fn semaphores_publish_waits_and_failures() {
    record(take_permits);
}

fn record(publish: impl AsyncFnOnce(&Snapshotter)) {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(publish(&snapshotter)));
}

async fn run_jobs(snapshotter: &Snapshotter) {
    let time = Arc::new(AtomicI64::new(5_000_000));
    let clock = time.clone();
    let clock = move || Slot::from_micros(clock.load(SeqCst)).time();
    let store = Arc::new(MemorySlots::new().with_clock(clock));
    let job = MemoryServer::new().locks().job("job", store).every(PERIOD);
    let job = job.take_over_after(Duration::ZERO).at_least_once().unwrap();
    run(&job, true).await;
    let none = RESULTS.map(|result| (result, 0.0));
    assert_eq!(published(snapshotter, &JOB), values(none.into_iter().chain([("running", 0.0)])));
    time.store(10_000_000, SeqCst);
    run(&job, false).await;
    let failed = [("last_slot_timestamp_seconds", 5.0), ("run_seconds", 1.0), ("running", 0.0)];
    let failed = none.into_iter().chain(failed).chain([("runs_total failed", 1.0)]);
    assert_eq!(published(snapshotter, &JOB), values(failed));
    run(&job, true).await;
    run(&job, true).await;
    let done = published(snapshotter, &JOB);
    assert_eq!(done.get("runs_total done"), Some(&1.0));
    assert_eq!(done.get("last_slot_timestamp_seconds"), Some(&10.0));
}

/// Runs the slot that is due, if there is one.
async fn run(job: &Job, is_done: bool) {
    job.run_due(async |_| is_done.then_some(()).ok_or("it fails")).await.unwrap();
}

async fn take_permits(snapshotter: &Snapshotter) {
    let pool = MemoryServer::new().locks().semaphore("pool", 2).unwrap();
    let permits = [pool.acquire().await.unwrap(), pool.try_acquire().await.unwrap().unwrap()];
    let waits = |count: usize| values([("wait_seconds", count as f64)]);
    assert_eq!(news(snapshotter), waits(2));
    assert!(pool.try_acquire().await.unwrap().is_none());
    assert_eq!(news(snapshotter), waits(0), "it does not wait");
    for timeout in [Duration::ZERO, Duration::from_millis(10)] {
        let error = pool.try_acquire_for(timeout).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
    }
    assert!(pool.acquire_many(3).await.is_err());
    let failures = [
        ("failures_total invalid_options", 1.0),
        ("failures_total timeout", 2.0),
        ("wait_seconds", 0.0),
    ];
    assert_eq!(news(snapshotter), values(failures));
    drop(permits);
    pool.try_acquire_many_for(2, Duration::from_secs(20)).await.unwrap().release().await.unwrap();
    assert_eq!(news(snapshotter).get("wait_seconds"), Some(&1.0));
}

/// What has been published of semaphores. Every kind of failure is, from the first call on.
fn news(snapshotter: &Snapshotter) -> BTreeMap<String, f64> {
    let mut news = published(snapshotter, &POOL);
    news.retain(|name, value| *value != 0.0 || !name.starts_with("failures_total"));
    news
}

fn values<'a>(values: impl IntoIterator<Item = (&'a str, f64)>) -> BTreeMap<String, f64> {
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What has been published since the last call, by name and label; of a histogram, how many values.
fn published(snapshotter: &Snapshotter, family: &Family) -> BTreeMap<String, f64> {
    let mut values = BTreeMap::new();
    for (key, unit, description, value) in snapshotter.snapshot().into_vec() {
        let Some(name) = key.key().name().strip_prefix(family.prefix) else { continue };
        assert!(unit.is_some() && description.is_some(), "{name} is not described");
        let mut name = name.to_owned();
        for label in key.key().labels() {
            match label.key() {
                key if key == family.name.0 => assert_eq!(label.value(), family.name.1),
                key if key == family.apart => name = format!("{name} {}", label.value()),
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
