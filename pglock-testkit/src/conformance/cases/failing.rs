//! Many failed acquires, none of which may leave a lock behind. Waits cancelled by an operator
//! continue meanwhile.

use std::time::{Duration, Instant};

use pglock_core::{DistributedRwLock, NamedKey, WriteGuard};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{sleep, timeout};

use crate::conformance::{Lab, group, soon};

group! { failing:
    three_thousand_failed_acquires_hold_nothing: Sessions,
}

const LANES: u64 = 6;
/// Acquires in each lane; about half of them fail.
const FAILURES: u32 = 500;
/// The time from the start of the acquire to its failure.
const PATIENCE: Duration = Duration::from_millis(9);

/// What makes an acquire fail.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Failure {
    Deadline,
    Drop,
    Cancel,
}

/// A failing wait may be granted at the same moment, so the release is swept from 3 ms before the
/// failure to 3 ms after it.
pub async fn three_thousand_failed_acquires_hold_nothing(lab: &Lab) {
    let begin = Instant::now();
    let mut lanes = JoinSet::new();
    for lane in 0..LANES {
        let lab = lab.clone();
        lanes.spawn(async move { run_lane(&lab, lane).await });
    }
    let (mut failed, mut granted) = ([0; 3], [0; 3]);
    while let Some(counts) = lanes.join_next().await {
        let counts = counts.unwrap();
        for kind in 0..3 {
            failed[kind] += counts.0[kind];
            granted[kind] += counts.1[kind];
        }
    }
    println!(
        "(deadline, drop, cancel) {failed:?} acquires failed, {granted:?} were granted, in {:?}",
        begin.elapsed(),
    );
    for kind in [Failure::Deadline, Failure::Drop].map(|kind| kind as usize) {
        assert!(failed[kind] > 100 && granted[kind] > 50, "{failed:?} {granted:?}");
    }
    assert_eq!(failed[Failure::Cancel as usize], 0);
    lab.witness().until_quiet().await.unwrap();
}

async fn run_lane(lab: &Lab, lane: u64) -> ([u32; 3], [u32; 3]) {
    let key = NamedKey::in_namespace("lane", &lane.to_string());
    let (holder, lock) = (lab.lock(key.clone()), lab.lock(key.clone()));
    let (mut failed, mut granted) = ([0; 3], [0; 3]);
    let mut round = 0;
    while failed.iter().sum::<u32>() < FAILURES {
        let failure = [Failure::Deadline, Failure::Drop, Failure::Cancel][(round % 3) as usize];
        // Each kind of failure goes through all 61 steps.
        let step = Duration::from_micros(100) * ((round / 3 + lane * 10) % 61) as u32;
        let guard = holder.write().await.unwrap();
        let outcome = run_round(lab, guard, &*lock, failure, step);
        let counts = if soon("the round ends", outcome).await { &mut granted } else { &mut failed };
        counts[(round % 3) as usize] += 1;
        round += 1;
        lab.witness().until_free(key.key()).await.unwrap();
    }
    // The manager still works.
    soon("the lock is free", lock.write()).await.unwrap().release().await.unwrap();
    (failed, granted)
}

/// Whether the acquire was granted.
async fn run_round(
    lab: &Lab,
    held: WriteGuard,
    lock: &dyn DistributedRwLock,
    failure: Failure,
    step: Duration,
) -> bool {
    let begin = Instant::now();
    let acquire = async {
        match failure {
            Failure::Deadline => lock.try_write_for(PATIENCE).await.map(drop).is_ok(),
            Failure::Drop => timeout(PATIENCE, lock.write()).await.is_ok(),
            Failure::Cancel => lock.write().await.map(drop).is_ok(),
        }
    };
    let disturb = async {
        if failure != Failure::Cancel {
            at(begin + PATIENCE - Duration::from_millis(3) + step).await;
            held.release().await.unwrap();
            return;
        }
        let pid = lab.witness().until_waiting(lock.key(), 1).await.unwrap()[0].pid;
        let end = Instant::now() + Duration::from_millis(4);
        let cancel = async {
            at(end).await;
            lab.witness().cancel(pid).await.unwrap();
        };
        let release = async {
            at(end + step - Duration::from_millis(3)).await;
            held.release().await.unwrap();
        };
        tokio::join!(cancel, release);
    };
    tokio::join!(acquire, disturb).0
}

async fn at(moment: Instant) {
    let spin = Duration::from_millis(2);
    if let Some(rest) = moment.checked_duration_since(Instant::now() + spin) {
        sleep(rest).await;
    }
    while Instant::now() < moment {
        yield_now().await;
    }
}
