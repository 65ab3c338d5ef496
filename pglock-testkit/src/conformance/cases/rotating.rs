//! More awaited keys than waiting sessions.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pglock_core::{DistributedRwLock, Mode, Result, WriteGuard};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::conformance::latencies::Latencies;
use crate::conformance::{Lab, Manager, Options, group, is_long, soon, start};

group! { rotating:
    key_passed_on_by_others_is_granted_beside_keys_never_released,
    key_passed_on_is_granted_after_a_turn_of_each_other,
    wait_that_has_made_room_gets_its_lock_when_it_comes_free: Sessions,
    granted_locks_leave_room_for_other_waiters,
}

const BUSY: &str = "passed on without end";

/// How long a key waits at least before it makes room for another one.
const TURN: Duration = Duration::from_millis(500);
/// What a turn may take on top, beside other turns and on a machine that is busy with other tests.
const SLACK: Duration = Duration::from_secs(2);

type Wait = JoinHandle<Result<WriteGuard>>;

/// The process has long been waiting for keys that other processes never release.
pub async fn key_passed_on_by_others_is_granted_beside_keys_never_released(lab: &Lab) {
    let (others, turns): (&[i32], _) =
        if is_long() { (&[3, 4, 19, 199], 100) } else { (&[4, 9], 5) };
    let rivals = Rivals::start(lab).await;
    for &others in others {
        let manager = lab.manager();
        let waits = stand_by(lab, &manager, others).await;
        // Each of these keys has had its first turn.
        sleep(TURN * others as u32).await;
        let lock = manager.lock(BUSY);
        let mut waited = Latencies::default();
        for _ in 0..turns {
            waited.push(write_once(&*lock, TURN * 2 + SLACK * 5).await);
        }
        waited.assert_below(&format!("beside {others} keys"), TURN + SLACK);
        give_way(lab, others, waits).await;
    }
    rivals.stop().await;
}

/// All keys are awaited at the same time, and this one is the last.
pub async fn key_passed_on_is_granted_after_a_turn_of_each_other(lab: &Lab) {
    let (others, turns): (&[i32], _) = if is_long() { (&[3, 4, 19, 199], 3) } else { (&[4, 9], 1) };
    let rivals = Rivals::start(lab).await;
    for &others in others {
        let mut waited = Latencies::default();
        let bound = TURN * (others as u32).saturating_sub(2) + SLACK;
        for _ in 0..turns {
            let manager = lab.manager();
            let waits = stand_by(lab, &manager, others).await;
            waited.push(write_once(&*manager.lock(BUSY), bound * 2).await);
            give_way(lab, others, waits).await;
        }
        waited.assert_below(&format!("behind {others} keys"), bound);
    }
    rivals.stop().await;
}

pub async fn wait_that_has_made_room_gets_its_lock_when_it_comes_free(lab: &Lab) {
    const KEYS: i32 = 6;
    let manager = lab.manager_with(&Options { max_waiting_sessions: 2, ..Options::default() });
    let waits = stand_by(lab, &manager, KEYS).await;
    soon("each has its turn in the server's queue", async {
        let mut seen = HashSet::new();
        while seen.len() < waits.len() {
            let locks = lab.witness().locks().await.unwrap();
            seen.extend(locks.iter().filter(|row| !row.granted).map(|row| row.key));
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    give_way(lab, KEYS, waits).await;
}

/// Every session that may wait holds the lock that it waited for.
pub async fn granted_locks_leave_room_for_other_waiters(lab: &Lab) {
    let manager = lab.manager();
    let waits = stand_by(lab, &manager, 4).await;
    for key in 0..4 {
        lab.witness().until_waiting((key, 0).into(), 1).await.unwrap();
    }
    let guards = give_way(lab, 4, waits).await;
    let rivals = Rivals::start(lab).await;
    let lock = manager.lock(BUSY);
    write_once(&*lock, TURN + SLACK).await;
    assert!(guards.iter().all(WriteGuard::is_held));
    rivals.stop().await;
}

/// The witness holds this many keys, and the manager waits for them.
async fn stand_by(lab: &Lab, manager: &Arc<dyn Manager>, keys: i32) -> Vec<Wait> {
    let mut waits = Vec::new();
    for key in 0..keys {
        lab.witness().hold((key, 0).into(), Mode::Write).await.unwrap();
        let lock = manager.lock((key, 0));
        waits.push(start(async move { lock.write().await }));
    }
    lab.until_queued(manager, waits.len()).await;
    waits
}

/// The witness releases the keys one by one, and the manager gets each of them.
async fn give_way(lab: &Lab, keys: i32, waits: Vec<Wait>) -> Vec<WriteGuard> {
    let mut guards = Vec::new();
    for (key, wait) in (0..keys).zip(waits) {
        lab.witness().release((key, 0).into(), Mode::Write).await.unwrap();
        guards.push(soon("the lock is free", wait).await.unwrap().unwrap());
    }
    guards
}

/// Takes and releases the lock, and returns how long it waited.
async fn write_once(lock: &dyn DistributedRwLock, bound: Duration) -> Duration {
    let begin = Instant::now();
    let guard = timeout(bound, lock.write()).await.expect("the writer starves").unwrap();
    let waited = begin.elapsed();
    guard.release().await.unwrap();
    waited
}

/// Two other processes: at any time one of them holds the lock while the other one waits for it.
struct Rivals {
    stop: Arc<AtomicBool>,
    tasks: [JoinHandle<()>; 2],
}

impl Rivals {
    async fn start(lab: &Lab) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let tasks = [lab.lock(BUSY), lab.lock(BUSY)].map(|lock| {
            let stop = stop.clone();
            start(async move {
                while !stop.load(Ordering::SeqCst) {
                    let guard = lock.write().await.unwrap();
                    sleep(Duration::from_millis(10)).await;
                    guard.release().await.unwrap();
                }
            })
        });
        lab.witness().until_waiting(BUSY.into(), 1).await.unwrap();
        Self { stop, tasks }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}
