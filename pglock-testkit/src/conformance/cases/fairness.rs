//! Every caller gets its turn, across processes and within one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pglock_core::{DistributedRwLock, Mode};
use tokio::runtime;
use tokio::task::{JoinHandle, spawn_blocking, yield_now};
use tokio::time::sleep;

use super::limited_to;
use crate::conformance::busy::{Busy, keep_busy};
use crate::conformance::latencies::Latencies;
use crate::conformance::turns::{Turns, jain};
use crate::conformance::{Lab, Options, group, is_long, soon, start};

group! { fairness:
    processes_get_equal_shares_of_a_key: Engine,
    writer_waits_no_longer_than_readers_of_another_process_hold: Process,
    writer_is_not_starved_if_no_other_session_can_ask: Process,
    process_passes_a_lock_on_for_a_bounded_time: Process,
    process_of_readers_and_writers_passes_a_lock_on_for_a_bounded_time: Process,
    task_that_never_waits_leaves_others_their_turn: Engine,
    tasks_that_want_one_key_get_equal_turns,
    reader_gets_its_turn_among_writers_of_its_process,
    reader_gets_its_turn_among_writers_of_other_processes,
}

const KEY: &str = "key";

/// How long, by default, a lock passes from caller to caller of a process while other processes
/// wait.
const AGE: Duration = Duration::from_millis(50);
/// What a turn between processes may take in addition to the ages and holds that it waits for.
const TURN: Duration = Duration::from_millis(50);

/// A turn of a process ends when another process gets the lock. The case counts turns and writes
/// instead of time, because a busy machine slows all processes down. It uses the median, because
/// one turn becomes long if the machine keeps all other processes out of the queue for a moment.
pub async fn processes_get_equal_shares_of_a_key(lab: &Lab) {
    const HAND_OVERS: u32 = 10;
    let _alone = lab.alone().await;
    let options = limited_to(HAND_OVERS);
    let rounds = if is_long() { 2000 } else { 200 };
    let turns = Turns::default();
    // No process begins its turns before all of them are in the queue.
    lab.witness().hold(KEY.into(), Mode::Write).await.unwrap();
    let mut processes = Vec::new();
    for process in 0..PROCESSES {
        let manager = lab.manager_with(&options);
        let write = || start(turns.clone().take(manager.lock(KEY), process, rounds * PROCESSES));
        processes.push([(); 16].map(|()| write()));
    }
    lab.witness().until_waiting(KEY.into(), PROCESSES).await.unwrap();
    lab.witness().release(KEY.into(), Mode::Write).await.unwrap();
    let mut counts = Vec::new();
    for (process, tasks) in processes.into_iter().enumerate() {
        let mut writes = Vec::new();
        for task in tasks {
            writes.push(task.await.unwrap());
        }
        let mut lengths = turns.of(process);
        lengths.sort_unstable();
        let (turns, median) = (lengths.len(), lengths[lengths.len() / 2]);
        let of_tasks = jain(&writes);
        println!("{turns} turns of {median} writes; among tasks, Jain's index is {of_tasks:.4}");
        assert!(median <= HAND_OVERS + 1, "a turn has {median} writes");
        assert!(of_tasks >= 0.95, "{writes:?}: {of_tasks}");
        counts.push(turns);
    }
    let of_processes = jain(&counts);
    println!("among processes, Jain's index is {of_processes:.4}");
    // A process that misses its place in the queue once misses several turns.
    let least = if is_long() { 0.95 } else { 0.8 };
    assert!(of_processes >= least, "{counts:?}: {of_processes}");
}

const PROCESSES: usize = 4;

pub async fn writer_waits_no_longer_than_readers_of_another_process_hold(lab: &Lab) {
    writer_among_readers(lab, &Options::default()).await;
}

/// The session that holds the key cannot ask whether another process waits, and at first there is
/// no other session.
pub async fn writer_is_not_starved_if_no_other_session_can_ask(lab: &Lab) {
    writer_among_readers(lab, &Options { max_waiting_sessions: 0, ..Options::default() }).await;
}

async fn writer_among_readers(lab: &Lab, options: &Options) {
    const READ: Duration = Duration::from_millis(20);
    if lab.is_child() {
        let lock = lab.manager_with(options).lock(KEY);
        let read = move |_| {
            let lock = lock.clone();
            async move {
                let guard = lock.read().await.unwrap();
                sleep(READ).await;
                guard.release().await.unwrap();
            }
        };
        return keep_busy(8, read).await;
    }
    let mut readers = Busy::start(lab, "readers").await;
    let writer = lab.lock(KEY);
    let mut waits = Latencies::default();
    for turn in 0..if is_long() { 1000 } else { 100 } {
        // Meets readers of every age.
        until_held(lab).await;
        sleep(Duration::from_millis(turn * 7 % 90)).await;
        waits.push(write_once(&*writer).await);
    }
    readers.stop();
    println!("{} reads", readers.done().await.len());
    waits.assert_percentile_below("a writer among readers", most(), AGE + READ + TURN);
}

pub async fn process_passes_a_lock_on_for_a_bounded_time(lab: &Lab) {
    one_against_64(lab, |_| Mode::Write).await;
}

pub async fn process_of_readers_and_writers_passes_a_lock_on_for_a_bounded_time(lab: &Lab) {
    one_against_64(lab, |turn| [Mode::Write, Mode::Read][turn % 4 / 2]).await;
}

/// `mode`: in which the rivals, and the one, take the lock in each turn.
async fn one_against_64(lab: &Lab, mode: fn(usize) -> Mode) {
    if lab.is_child() {
        let lock = lab.lock(KEY);
        return keep_busy(64, move |turn| take(lock.clone(), mode(turn))).await;
    }
    let mut rivals = Busy::start(lab, "rivals").await;
    let (lock, mut waits) = (lab.lock(KEY), Latencies::default());
    for turn in 0..if is_long() { 1000 } else { 100 } {
        until_held(lab).await;
        let begin = Instant::now();
        take(lock.clone(), mode(turn)).await;
        waits.push(begin.elapsed());
    }
    rivals.stop();
    println!("{} turns of 64 rivals", rivals.done().await.len());
    waits.assert_percentile_below("one against 64", most(), AGE + TURN);
}

/// Each task has its own lock, which is usually free, so nothing else would make the task yield.
/// They run on one thread, so that the scheduler of the system does not make it yield either.
pub async fn task_that_never_waits_leaves_others_their_turn(lab: &Lab) {
    let second = Duration::from_secs(1);
    let options = Options {
        hand_over_count: Some(u32::MAX),
        hand_over_age: Some(second),
        ..Options::default()
    };
    let manager = lab.manager_with(&options);
    let turns = move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(turns_by_drop((0..8).map(|task: i64| manager.lock(task))))
    };
    let (least, most) = spawn_blocking(turns).await.unwrap();
    assert!(most <= 10 * least, "{least} to {most} turns");
}

pub async fn tasks_that_want_one_key_get_equal_turns(lab: &Lab) {
    let (least, most) = turns_by_drop(vec![lab.lock(KEY); 64].into_iter()).await;
    assert!(2 * most <= 3 * least, "{least} to {most} turns");
}

/// The smallest and largest number of turns of a task, if each task takes its lock again as soon as
/// it has dropped it.
async fn turns_by_drop(locks: impl Iterator<Item = Arc<dyn DistributedRwLock>>) -> (u32, u32) {
    let stop = Arc::<AtomicBool>::default();
    let task = |lock: Arc<dyn DistributedRwLock>| {
        let stop = stop.clone();
        start(async move {
            let mut turns = 0;
            while !stop.load(Ordering::SeqCst) {
                drop(lock.write().await.unwrap());
                turns += 1;
            }
            turns
        })
    };
    let tasks: Vec<_> = locks.map(task).collect();
    sleep(Duration::from_secs(if is_long() { 30 } else { 2 })).await;
    stop.store(true, Ordering::SeqCst);
    let mut turns = Vec::new();
    for task in tasks {
        turns.push(soon("a task starves", task).await.unwrap());
    }
    turns.sort_unstable();
    let (least, most) = (turns[0], turns[turns.len() - 1]);
    println!("{least} to {most} turns");
    (least, most)
}

pub async fn reader_gets_its_turn_among_writers_of_its_process(lab: &Lab) {
    let manager = lab.manager();
    let writers = Writers::start((0..8).map(|_| manager.lock(KEY)));
    for _ in 0..20 {
        // All of them wait, and queue again after each turn.
        lab.witness().hold(KEY.into(), Mode::Write).await.unwrap();
        lab.until_queued(&manager, 8).await;
        let read = writers.before_a_read(manager.lock(KEY));
        lab.until_queued(&manager, 9).await;
        lab.witness().release(KEY.into(), Mode::Write).await.unwrap();
        assert_eq!(soon("the reader starves", read).await.unwrap(), 8);
    }
    writers.stop().await;
}

pub async fn reader_gets_its_turn_among_writers_of_other_processes(lab: &Lab) {
    let witness = lab.witness();
    let writers = Writers::start((0..8).map(|_| lab.lock(KEY)));
    let reader = lab.lock(KEY);
    for _ in 0..20 {
        witness.hold(KEY.into(), Mode::Write).await.unwrap();
        witness.until_waiting(KEY.into(), 8).await.unwrap();
        let read = writers.before_a_read(reader.clone());
        witness.until_waiting(KEY.into(), 9).await.unwrap();
        witness.release(KEY.into(), Mode::Write).await.unwrap();
        assert_eq!(soon("the reader starves", read).await.unwrap(), 8);
    }
    writers.stop().await;
}

async fn take(lock: Arc<dyn DistributedRwLock>, mode: Mode) {
    match mode {
        Mode::Read => soon("it starves", lock.read()).await.unwrap().release().await.unwrap(),
        Mode::Write => soon("it starves", lock.write()).await.unwrap().release().await.unwrap(),
    }
}

/// The percentage that must keep a bound: lower on a machine that may be busy with other tests.
fn most() -> usize {
    if is_long() { 99 } else { 75 }
}

/// Waits until the others hold the lock, for which they may have to open a session.
async fn until_held(lab: &Lab) {
    let look = async {
        while lab.witness().holders(KEY.into()).await.unwrap().is_empty() {
            yield_now().await;
        }
    };
    soon("the others take the lock", look).await;
}

/// Takes and releases the lock, and returns how long it waited.
async fn write_once(lock: &dyn DistributedRwLock) -> Duration {
    let begin = Instant::now();
    let guard = soon("a writer starves", lock.write()).await.unwrap();
    let waited = begin.elapsed();
    guard.release().await.unwrap();
    waited
}

/// Tasks that write again and again.
struct Writers {
    writes: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Writers {
    fn start(locks: impl Iterator<Item = Arc<dyn DistributedRwLock>>) -> Self {
        let (writes, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let tasks = locks.map(|lock| {
            let (writes, stop) = (writes.clone(), stop.clone());
            start(async move {
                while !stop.load(Ordering::SeqCst) {
                    let guard = lock.write().await.unwrap();
                    writes.fetch_add(1, Ordering::SeqCst);
                    guard.release().await.unwrap();
                }
            })
        });
        Self { tasks: tasks.collect(), writes, stop }
    }

    /// Reads once, and returns how many writes came first, from now on.
    fn before_a_read(&self, lock: Arc<dyn DistributedRwLock>) -> JoinHandle<usize> {
        let writes = self.writes.clone();
        let before = writes.load(Ordering::SeqCst);
        start(async move {
            let guard = lock.read().await.unwrap();
            let after = writes.load(Ordering::SeqCst);
            guard.release().await.unwrap();
            after - before
        })
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}
