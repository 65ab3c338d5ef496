//! The optional features of the core: cancelled tokens and published metrics.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use pglock_core::{ErrorKind, Locks, Stats};
use pglock_testkit::memory::MemoryServer;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn token_is_cancelled_when_the_lock_is_lost() {
    let server = MemoryServer::new();
    let locks = server.locks();
    let write = locks.rwlock("write").write().await.unwrap();
    let read = locks.rwlock("read").read().await.unwrap();
    let tokens = [CancellationToken::new(), CancellationToken::new(), CancellationToken::new()];
    write.cancel_on_loss(&tokens[0]);
    write.cancel_on_loss(&tokens[1].child_token());
    read.cancel_on_loss(&tokens[2]);
    assert!(tokens.iter().all(|token| !token.is_cancelled()));
    server.terminate_all();
    for token in [&tokens[0], &tokens[2]] {
        timeout(PATIENCE, token.cancelled()).await.unwrap();
    }
    assert!(!tokens[1].is_cancelled(), "a cancelled child leaves its parent alone");
    // A token that is registered after the loss is cancelled at once.
    let late = CancellationToken::new();
    write.cancel_on_loss(&late);
    assert!(late.is_cancelled());
}

#[tokio::test]
async fn token_is_not_cancelled_when_the_lock_is_released() {
    let server = MemoryServer::new();
    let locks = server.locks();
    let (released, dropped) = (CancellationToken::new(), CancellationToken::new());
    let guard = locks.rwlock("key").write().await.unwrap();
    guard.cancel_on_loss(&released);
    guard.release().await.unwrap();
    let guard = locks.rwlock("key").write().await.unwrap();
    guard.cancel_on_loss(&dropped);
    drop(guard);
    let last = locks.rwlock("key").write().await.unwrap();
    server.terminate_all();
    timeout(PATIENCE, last.lost()).await.unwrap();
    locks.close().await.unwrap();
    assert!(!released.is_cancelled() && !dropped.is_cancelled());
}

/// The values with the label of this manager alone, by name.
fn published(snapshotter: &Snapshotter, application_name: &str) -> BTreeMap<String, f64> {
    let mut values = BTreeMap::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let key = key.key();
        let labels: Vec<_> = key.labels().map(|label| (label.key(), label.value())).collect();
        assert_eq!(labels[0].0, "application_name");
        let others = ["pglock_wait_seconds", "pglock_hold_seconds", "pglock_failures_total"];
        let has_another = others.contains(&key.name());
        assert_eq!(labels.len(), 1 + usize::from(has_another), "{labels:?}");
        if !has_another && labels[0].1 == application_name {
            let value = match value {
                DebugValue::Counter(value) => value as f64,
                DebugValue::Gauge(value) => value.into_inner(),
                DebugValue::Histogram(_) => panic!("they have another label"),
            };
            values.insert(key.name().to_owned(), value);
        }
    }
    values
}

fn manager(server: &MemoryServer, name: &str) -> Locks {
    let builder = Locks::builder(server.driver()).application_name(name);
    // The recorder receives only what the test's thread publishes.
    let builder = builder.runtime(Handle::current());
    builder.heartbeat(Duration::from_millis(50)).build().unwrap()
}

#[test]
fn metrics_are_the_numbers_of_stats() {
    recorded(|snapshotter| async move {
        let server = MemoryServer::new();
        let (busy, idle) = (manager(&server, "busy"), manager(&server, "idle"));
        let other = idle.rwlock("other").write().await.unwrap();
        // An old lock is not handed over, but released at the server.
        while busy.stats().hand_overs == 0 {
            hand_over(&busy).await;
        }
        let held = busy.rwlock("held").write().await.unwrap();
        let lock = busy.rwlock("held");
        let wait = tokio::spawn(async move { lock.write().await });
        until(|| busy.stats().waiting == 1).await;
        until_published(&snapshotter, "busy", &busy.stats()).await;
        drop(held);
        let held = wait.await.unwrap().unwrap();
        for pid in server.sessions("busy") {
            assert!(server.terminate(pid));
        }
        held.lost().await;
        busy.rwlock("key").write().await.unwrap().release().await.unwrap();
        let stats = busy.stats();
        assert_eq!((stats.losses, stats.reconnects), (1, 1));
        until_published(&snapshotter, "busy", &stats).await;
        until_published(&snapshotter, "idle", &idle.stats()).await;
        other.release().await.unwrap();
    });
}

#[test]
fn metrics_are_published_during_an_outage() {
    recorded(|snapshotter| async move {
        let server = MemoryServer::new();
        let locks = manager(&server, "name");
        drop(locks.rwlock("key").write().await.unwrap());
        server.refuse_connections(true);
        server.terminate_all();
        // The manager publishes although it has no caller.
        let value = |name: &str| published(&snapshotter, "name").remove(name).unwrap_or_default();
        for age in [0.3, 0.6, 1.2] {
            until(|| value("pglock_heartbeat_age_seconds") >= age).await;
            assert!(!locks.stats().connected);
        }
        server.refuse_connections(false);
        until(|| value("pglock_connected") == 1.0).await;
    });
}

#[test]
fn waits_and_holds_are_measured_and_failures_counted() {
    recorded(|snapshotter| async move {
        let server = MemoryServer::new();
        let locks = manager(&server, "name");
        let write = locks.rwlock("key").write().await.unwrap();
        assert!(locks.rwlock("key").try_read().await.unwrap().is_none());
        let late = locks.rwlock("key").try_read_for(Duration::from_millis(1)).await;
        assert_eq!(late.unwrap_err().kind(), ErrorKind::Timeout);
        let in_set = locks.write_all(["set/1", "set/2"]).await.unwrap();
        let read = write.downgrade();
        let session = locks.session().await.unwrap();
        drop(session.try_read("key").await.unwrap().unwrap());
        read.release().await.unwrap();
        drop(in_set);
        locks.close().await.unwrap();
        let failed = locks.rwlock("key").write().await;
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::Closed);

        let (mut measured, mut without_failures) = (BTreeMap::new(), 0);
        for (key, unit, description, value) in snapshotter.snapshot().into_vec() {
            let (key, name) = (key.key(), key.key().name());
            assert!(unit.is_some() && description.is_some(), "{name} is not described");
            let labels: Vec<_> = key.labels().skip(1).map(|it| it.value()).collect();
            let times = match value {
                DebugValue::Histogram(times) => times.len() as u64,
                DebugValue::Counter(0) if name == "pglock_failures_total" => {
                    without_failures += 1;
                    continue;
                }
                DebugValue::Counter(times) if name == "pglock_failures_total" => times,
                _ => continue,
            };
            measured.insert(format!("{name} {}", labels.join(" ")), times);
        }
        assert!(without_failures >= 13, "each kind is published before it happens");
        // A downgrade ends the write lock and begins a read lock.
        let expected = [
            ("pglock_failures_total closed", 1),
            ("pglock_failures_total timeout", 1),
            ("pglock_hold_seconds read", 2),
            ("pglock_hold_seconds write", 3),
            ("pglock_wait_seconds read", 1),
            ("pglock_wait_seconds write", 3),
        ];
        assert!(
            measured.iter().map(|(what, times)| (&**what, *times)).eq(expected),
            "{measured:?}"
        );
    });
}

/// Runs a test whose managers publish to a recorder of its own.
fn recorded<F: Future<Output = ()>>(test: impl FnOnce(Snapshotter) -> F) {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // The recorder belongs to this thread, which runs all tasks.
    metrics::with_local_recorder(&recorder, || runtime.block_on(test(snapshotter)));
}

#[test]
fn elections_publish_their_terms() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let server = MemoryServer::new();
            let election = server.locks().election("scheduler").take_over_after(Duration::ZERO);
            assert_eq!(election.leader().await.unwrap(), None);
            assert_eq!(terms(&snapshotter), None, "one that observes is no candidate");
            let leadership = election.campaign().await.unwrap();
            assert_eq!(terms(&snapshotter), Some((1.0, 1, true)));
            assert!(election.try_campaign().await.unwrap().is_none());
            assert_eq!(terms(&snapshotter), Some((0.0, 0, false)), "nothing has changed");
            leadership.resign().await.unwrap();
            assert_eq!(terms(&snapshotter), Some((-1.0, 0, true)));
            let lost = election.campaign().await.unwrap();
            assert_eq!(terms(&snapshotter), Some((1.0, 1, true)));
            server.terminate_all();
            let mut roles = election.watch();
            timeout(PATIENCE, roles.wait_for(|role| !role.is_leading())).await.unwrap().unwrap();
            // The channel changes shortly after the figures.
            assert_eq!(terms(&snapshotter), Some((-1.0, 0, true)));
            drop(lost);
            assert_eq!(terms(&snapshotter), Some((0.0, 0, false)), "a term ends once");
        });
    });
}

/// What has changed since the last snapshot, which resets all values: how many more leaders there
/// are, how many terms have begun, and whether a change was published. `None` if nothing is
/// published.
fn terms(snapshotter: &Snapshotter) -> Option<(f64, u64, bool)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let mut terms = None;
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let Some(name) = key.key().name().strip_prefix("pglock_election_") else { continue };
        let labels: Vec<_> = key.key().labels().map(|it| (it.key(), it.value())).collect();
        assert_eq!(labels, [("election", "scheduler")]);
        let (leading, begun, has_changed) = terms.get_or_insert((0.0, 0, false));
        match (name, value) {
            ("is_leader", DebugValue::Gauge(value)) => *leading = value.into_inner(),
            ("terms_total", DebugValue::Counter(value)) => *begun = value,
            ("last_change_timestamp_seconds", DebugValue::Gauge(value)) => {
                let value = value.into_inner();
                *has_changed = value != 0.0;
                assert!(value == 0.0 || (now - value).abs() < 60.0, "{value}");
            }
            other => panic!("{other:?}"),
        }
    }
    terms
}

async fn hand_over(locks: &Locks) {
    let (guard, lock) = (locks.rwlock("key").write().await.unwrap(), locks.rwlock("key"));
    let wait = tokio::spawn(async move { lock.write().await.map(drop) });
    until(|| locks.stats().waiting == 1).await;
    drop(guard);
    wait.await.unwrap().unwrap();
}

async fn until(reached: impl Fn() -> bool + Send + Sync) {
    let reached = async {
        while !reached() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, reached).await.unwrap();
}

/// Waits until the manager has published these numbers.
async fn until_published(snapshotter: &Snapshotter, name: &str, stats: &Stats) {
    let expected = [
        ("pglock_connected", f64::from(stats.connected)),
        ("pglock_deadlocks_total", stats.deadlocks as f64),
        ("pglock_grants_total", stats.grants as f64),
        ("pglock_hand_overs_total", stats.hand_overs as f64),
        ("pglock_held", stats.held as f64),
        ("pglock_losses_total", stats.losses as f64),
        ("pglock_reconnects_total", stats.reconnects as f64),
        ("pglock_sessions", stats.sessions as f64),
        ("pglock_waiting", stats.waiting as f64),
    ];
    let mut seen = BTreeMap::new();
    let published = timeout(PATIENCE, async {
        loop {
            // A snapshot resets all values to zero until the next publication.
            seen = published(snapshotter, name);
            let age = seen.remove("pglock_heartbeat_age_seconds");
            if age.is_some_and(|age| age < 1.0)
                && seen.iter().map(|(name, value)| (&**name, *value)).eq(expected)
            {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(published.await.is_ok(), "expected {expected:?}, published {seen:?}");
}
