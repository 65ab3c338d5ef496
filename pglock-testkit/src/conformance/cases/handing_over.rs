//! Locks that pass from caller to caller within a process.

use std::fs::{File, TryLockError};
use std::sync::Arc;
use std::time::Duration;

use pglock_core::{DistributedRwLock, LockKey, Mode, ReadGuard};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, yield_now};

use super::{limited_to, modes, until_modes};
use crate::conformance::busy::{keep_busy, two_processes};
use crate::conformance::{Lab, Manager, Options, group, soon, start};
use crate::faults::TestProcess;

group! { handing_over:
    process_passes_a_lock_on_a_bounded_number_of_times: Engine,
    process_that_hands_nothing_over_asks_the_server_each_time: Engine,
    lock_passes_on_only_after_its_holder_has_left: Process,
    writer_behind_a_reader_asks_the_server: Engine,
    readers_of_another_process_share_if_no_writer_waits: Engine,
    readers_of_another_process_share_after_a_while: Engine,
    write_lock_is_shared_although_another_process_awaits_it: Engine,
    shared_write_lock_passes_on_only_after_its_holders_have_left: Process,
}

const KEY: &str = "key";

pub async fn process_passes_a_lock_on_a_bounded_number_of_times(lab: &Lab) {
    let options = limited_to(10);
    let (ours, theirs) = (lab.manager_with(&options), lab.manager());
    let guard = ours.lock(KEY).write().await.unwrap();
    let (served, mut order) = mpsc::unbounded_channel();
    let writer = |manager: &Arc<dyn Manager>, name: &'static str| {
        let (lock, served) = (manager.lock(KEY), served.clone());
        start(async move {
            let guard = lock.write().await.unwrap();
            served.send(name).unwrap();
            guard.release().await.unwrap();
        })
    };
    let mut writers: Vec<_> = (0..64).map(|_| writer(&ours, "ours")).collect();
    lab.until_queued(&ours, 64).await;
    writers.push(writer(&theirs, "theirs"));
    lab.witness().until_waiting(KEY.into(), 1).await.unwrap();
    guard.release().await.unwrap();
    for writer in writers {
        soon("every writer has its turn", writer).await.unwrap();
    }
    let order: Vec<_> = std::iter::from_fn(|| order.try_recv().ok()).collect();
    assert_eq!(order.iter().position(|name| *name == "theirs"), Some(10));
}

pub async fn process_that_hands_nothing_over_asks_the_server_each_time(lab: &Lab) {
    let options = limited_to(0);
    let manager = lab.manager_with(&options);
    let lock = manager.lock(KEY);
    let guard = lock.write().await.unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let lock = lock.clone();
            start(async move { lock.write().await.unwrap().release().await.unwrap() })
        })
        .collect();
    lab.until_queued(&manager, 8).await;
    guard.release().await.unwrap();
    for task in tasks {
        soon("every writer has its turn", task).await.unwrap();
    }
    assert_eq!((manager.stats().grants, manager.stats().hand_overs), (9, 0));
}

pub async fn lock_passes_on_only_after_its_holder_has_left(lab: &Lab) {
    pass_on(lab, &Options::default()).await;
}

pub async fn shared_write_lock_passes_on_only_after_its_holders_have_left(lab: &Lab) {
    pass_on(lab, &sharing()).await;
}

/// The witness is a file lock of the system, taken while the guard is held and released before it.
async fn pass_on(lab: &Lab, options: &Options) {
    if lab.is_child() {
        let lock = lab.manager_with(options).lock(KEY);
        let path = TestProcess::role().unwrap();
        return keep_busy(8, move |turn| enter(lock.clone(), path.clone(), turn)).await;
    }
    two_processes(lab, 100).await;
}

async fn enter(lock: Arc<dyn DistributedRwLock>, path: String, turn: usize) {
    let file = File::open(path).unwrap();
    let enters =
        |entered: Result<(), TryLockError>| entered.expect("no conflicting holder is inside");
    // Mostly writers, one after the other, so that locks pass on, with some readers in between that
    // join them.
    if turn % 8 < 5 {
        let guard = lock.write().await.unwrap();
        enters(file.try_lock());
        // Lets other tasks run meanwhile.
        yield_now().await;
        file.unlock().unwrap();
        guard.release().await.unwrap();
    } else {
        let guard = lock.read().await.unwrap();
        enters(file.try_lock_shared());
        yield_now().await;
        file.unlock().unwrap();
        drop(guard);
    }
}

pub async fn writer_behind_a_reader_asks_the_server(lab: &Lab) {
    let (ours, key) = (lab.manager_with(&limited_to(u32::MAX)), LockKey::from(KEY));
    let reader = ours.lock(key).read().await.unwrap();
    assert_eq!(modes(lab, key).await, [Mode::Read]);
    let (served, mut order) = mpsc::unbounded_channel();
    let visit = |lock: Arc<dyn DistributedRwLock>, name| {
        let (lab, served) = (lab.clone(), served.clone());
        start(async move {
            let guard = lock.write().await.unwrap();
            served.send(name).unwrap();
            assert_eq!(modes(&lab, key).await, [Mode::Write], "{name}");
            drop(guard);
        })
    };
    let there = visit(lab.lock(key), "there");
    lab.witness().until_waiting(key, 1).await.unwrap();
    let here = visit(ours.lock(key), "here");
    lab.until_queued(&ours, 1).await;
    drop(reader);
    soon("it was first", there).await.unwrap();
    soon("its turn has come", here).await.unwrap();
    // If the lock had passed on here, no other process would have had it in between.
    assert_eq!([order.recv().await, order.recv().await], [Some("there"), Some("here")]);
    assert_eq!(ours.stats().hand_overs, 0);
    lab.witness().until_free(key).await.unwrap();
}

fn sharing() -> Options {
    Options { share_write_locks: true, ..Options::default() }
}

pub async fn readers_of_another_process_share_if_no_writer_waits(lab: &Lab) {
    let key = LockKey::from(KEY);
    let options = Options { share_write_locks: true, ..limited_to(u32::MAX) };
    let (ours, theirs) = (lab.manager_with(&options), lab.lock(key));
    let write = ours.lock(key).write().await.unwrap();
    let here = read(ours.lock(key));
    lab.until_queued(&ours, 1).await;
    drop(write);
    let here = soon("it passes on", here).await.unwrap();
    assert_eq!(ours.stats().hand_overs, 1);
    let there = soon("readers share", theirs.read()).await.unwrap();
    assert_eq!(modes(lab, key).await, [Mode::Read; 2]);
    here.release().await.unwrap();
    there.release().await.unwrap();
    lab.witness().until_free(key).await.unwrap();
}

pub async fn readers_of_another_process_share_after_a_while(lab: &Lab) {
    let key = LockKey::from(KEY);
    let options = Options {
        hand_over_count: Some(u32::MAX),
        hand_over_age: Some(Duration::from_secs(2)),
        ..sharing()
    };
    let (ours, theirs) = (lab.manager_with(&options), lab.lock(key));
    let write = ours.lock(key).write().await.unwrap();
    let here = read(ours.lock(key));
    lab.until_queued(&ours, 1).await;
    let lock = ours.lock(key);
    let next = start(async move { lock.write().await.unwrap() });
    lab.until_queued(&ours, 2).await;
    drop(write);
    let here = soon("it passes on", here).await.unwrap();
    let there = soon("readers share", theirs.read()).await.unwrap();
    assert!(!next.is_finished());
    here.release().await.unwrap();
    there.release().await.unwrap();
    soon("the readers have gone", next).await.unwrap().release().await.unwrap();
    lab.witness().until_free(key).await.unwrap();
}

pub async fn write_lock_is_shared_although_another_process_awaits_it(lab: &Lab) {
    let key = LockKey::from(KEY);
    let options = Options { share_write_locks: true, ..limited_to(u32::MAX) };
    let (ours, theirs) = (lab.manager_with(&options), lab.lock(key));
    let write = ours.lock(key).write().await.unwrap();
    let there = start(async move { theirs.write().await.unwrap() });
    lab.witness().until_waiting(key, 1).await.unwrap();
    let here = read(ours.lock(key));
    lab.until_queued(&ours, 1).await;
    drop(write);
    let here = soon("it passes on", here).await.unwrap();
    until_modes(lab, key, &[Mode::Read]).await;
    lab.witness().until_waiting(key, 1).await.unwrap();
    assert!(here.is_held());
    here.release().await.unwrap();
    soon("the reader has gone", there).await.unwrap().release().await.unwrap();
    lab.witness().until_free(key).await.unwrap();
}

fn read(lock: Arc<dyn DistributedRwLock>) -> JoinHandle<ReadGuard> {
    start(async move { lock.read().await.unwrap() })
}
