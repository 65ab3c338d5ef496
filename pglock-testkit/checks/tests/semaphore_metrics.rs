//! What semaphores publish through the crate `metrics`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use pglock_core::ErrorKind;
use pglock_testkit::memory::MemoryServer;

#[test]
fn semaphores_publish_waits_and_failures() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(publish(&snapshotter)));
}

async fn publish(snapshotter: &Snapshotter) {
    let pool = MemoryServer::new().locks().semaphore("pool", 2).unwrap();
    let permits = [pool.acquire().await.unwrap(), pool.try_acquire().await.unwrap().unwrap()];
    let waits = |count: usize| values([("wait_seconds", count as f64)]);
    assert_eq!(published(snapshotter), waits(2));
    assert!(pool.try_acquire().await.unwrap().is_none());
    assert_eq!(published(snapshotter), waits(0), "it does not wait");
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
    assert_eq!(published(snapshotter), values(failures));
    drop(permits);
    pool.try_acquire_many_for(2, Duration::from_secs(20)).await.unwrap().release().await.unwrap();
    assert_eq!(published(snapshotter).get("wait_seconds"), Some(&1.0));
}

fn values<'a>(values: impl IntoIterator<Item = (&'a str, f64)>) -> BTreeMap<String, f64> {
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What has been published since the last call, by name and kind; of a histogram, how many values.
fn published(snapshotter: &Snapshotter) -> BTreeMap<String, f64> {
    let mut values = BTreeMap::new();
    for (key, unit, description, value) in snapshotter.snapshot().into_vec() {
        let Some(name) = key.key().name().strip_prefix("pglock_semaphore_") else { continue };
        assert!(unit.is_some() && description.is_some(), "{name} is not described");
        let mut name = name.to_owned();
        for label in key.key().labels() {
            match label.key() {
                "semaphore" => assert_eq!(label.value(), "pool"),
                "kind" => name = format!("{name} {}", label.value()),
                other => panic!("unknown label {other}"),
            }
        }
        let value = match value {
            // Every kind is published from the first call on.
            DebugValue::Counter(0) => continue,
            DebugValue::Counter(value) => value as f64,
            DebugValue::Gauge(value) => value.into_inner(),
            DebugValue::Histogram(values) => values.len() as f64,
        };
        values.insert(name, value);
    }
    values
}
