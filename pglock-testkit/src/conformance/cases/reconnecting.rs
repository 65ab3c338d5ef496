//! How a manager reconnects to a server that does not answer, without flooding it.

use std::iter::repeat_n;
use std::sync::Arc;
use std::time::Duration;

use pglock_core::Mode;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::{SLACK, connect};
use crate::conformance::{Lab, Manager, Options, group, is_long, soon, start};
use crate::faults::{Direction, Proxy};
use crate::postgres::{StopMode, TestServer};
use crate::witness::{PostgresWitness, Witness};

group! { reconnecting:
    one_attempt_to_connect_is_under_way: Postgres,
    attempts_to_connect_become_less_frequent: Postgres,
}

/// The longest pause between two attempts; jitter shortens it by up to a half.
const LONGEST_PAUSE: Duration = Duration::from_millis(800);

pub async fn one_attempt_to_connect_is_under_way(lab: &Lab) {
    let server = TestServer::private().await.unwrap();
    let witness = connect(server.url()).await;
    let proxy = Proxy::start(server.url()).unwrap();
    let manager = lab.manager_at(proxy.url(), &Options::default()).unwrap();
    let waits = wait_for_64_keys(lab, &witness, &manager).await;
    let before = proxy.connections().len();
    for direction in Direction::BOTH {
        proxy.stall(direction);
    }
    proxy.reset();
    let (mut made, mut most) = (0, 0);
    let end = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < end {
        let attempts = proxy.connections().split_off(before);
        made = attempts.len();
        most = most.max(attempts.iter().filter(|attempt| attempt.is_open()).count());
        sleep(Duration::from_millis(1)).await;
    }
    println!("{made} attempts, at most {most} at once");
    assert_eq!(most, 1);
    for direction in Direction::BOTH {
        proxy.resume(direction);
    }
    finish(&witness, waits).await;
}

pub async fn attempts_to_connect_become_less_frequent(lab: &Lab) {
    let outage = Duration::from_secs(if is_long() { 10 } else { 4 });
    let server = TestServer::private().await.unwrap();
    let witness = connect(server.url()).await;
    let proxy = Proxy::start(server.url()).unwrap();
    let manager = lab.manager_at(proxy.url(), &Options::default()).unwrap();
    let waits = wait_for_64_keys(lab, &witness, &manager).await;
    server.stop(StopMode::Fast).await.unwrap();

    let attempts = attempts_during(outage, &proxy).await;
    println!("attempts to connect between {attempts:.1?}");
    // The shortest and the longest that each pause can have been.
    let pauses = attempts.windows(2).map(|pair| {
        let [(after, before), (next_after, next_before)] = [pair[0], pair[1]];
        (next_after.saturating_sub(before), next_before - after)
    });
    let pauses: Vec<_> = pauses.collect();
    let (early, late) = pauses.split_at(pauses.len().min(5));
    assert!(early.iter().all(|(_, most)| *most >= Duration::from_millis(20)), "{pauses:?}");
    let (least, most) = (LONGEST_PAUSE.mul_f64(0.45), LONGEST_PAUSE + SLACK);
    assert!(late.iter().all(|pause| pause.1 >= least && pause.0 <= most), "{pauses:?}");
    assert!(attempts.len() >= 3, "it does not give up");

    server.start().await.unwrap();
    let begin = Instant::now();
    soon("the server is back", manager.lock("new").write()).await.unwrap().release().await.unwrap();
    println!("first grant {:.1?} after the server was back", begin.elapsed());
    assert!(begin.elapsed() <= Duration::from_secs(2));
    // The holder of the keys died with the old server.
    finish(&connect(server.url()).await, waits).await;
}

/// After when and before when each attempt was made. On a busy machine, this looks less often.
async fn attempts_during(outage: Duration, proxy: &Proxy) -> Vec<(Duration, Duration)> {
    let (mut known, mut looked, begin) =
        (proxy.connections().len(), Duration::ZERO, Instant::now());
    let mut attempts = Vec::new();
    while looked < outage {
        let after = begin.elapsed();
        let now = proxy.connections().len();
        let before = begin.elapsed();
        // Two in the same moment would be concurrent attempts.
        let at_once = now - known > 1 && before - looked < Duration::from_millis(20);
        assert!(!at_once, "{} attempts within {:?}", now - known, before - looked);
        attempts.extend(repeat_n((looked, before), now - known));
        (known, looked) = (now, after);
        sleep(Duration::from_micros(500)).await;
    }
    attempts
}

type Waits = Vec<JoinHandle<pglock_core::Result<()>>>;

/// Each task wants a key that the witness holds.
async fn wait_for_64_keys(
    lab: &Lab,
    witness: &PostgresWitness,
    manager: &Arc<dyn Manager>,
) -> Waits {
    let mut waits = Vec::new();
    for key in 0..64_i64 {
        witness.hold(key.into(), Mode::Write).await.unwrap();
        let lock = manager.lock(key);
        waits.push(start(async move { lock.write().await?.release().await }));
    }
    lab.until_queued(manager, 64).await;
    witness.until_waiting(0.into(), 1).await.unwrap();
    waits
}

/// Every waiter gets its lock.
async fn finish(witness: &PostgresWitness, waits: Waits) {
    witness.client().batch_execute("SELECT pg_catalog.pg_advisory_unlock_all()").await.unwrap();
    for wait in waits {
        soon("the key is free", wait).await.unwrap().unwrap();
    }
    witness.until_quiet().await.unwrap();
}
