//! Which modes exclude each other, and between which callers.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use pglock_core::{LockKey, Mode};

use crate::conformance::{Lab, group, soon, start};

group! { excluding:
    writer_excludes_writers_of_other_processes,
    writer_excludes_readers_of_other_processes,
    readers_of_several_processes_share,
    reader_excludes_writers_of_other_processes,
    writer_excludes_tasks_of_its_own_process,
    readers_of_one_process_share,
    reader_excludes_writers_of_its_own_process,
    two_locks_on_one_key_are_two_callers,
    one_of_many_tries_succeeds,
    keys_do_not_interfere,
    intervals_of_conflicting_guards_never_overlap,
    server_counts_one_lock_per_key_and_session,
    sessions_that_wait_hold_nothing,
}

pub async fn writer_excludes_writers_of_other_processes(lab: &Lab) {
    let (a, b) = (lab.lock("key"), lab.lock("key"));
    let guard = a.try_write().await.unwrap().expect("the lock is free");
    assert!(b.try_write().await.unwrap().is_none());
    guard.release().await.unwrap();
    let guard = b.try_write().await.unwrap().expect("the lock is free again");
    guard.release().await.unwrap();
}

pub async fn writer_excludes_readers_of_other_processes(lab: &Lab) {
    let (a, b) = (lab.lock("key"), lab.lock("key"));
    let guard = a.try_write().await.unwrap().expect("the lock is free");
    assert!(b.try_read().await.unwrap().is_none());
    guard.release().await.unwrap();
    assert!(b.try_read().await.unwrap().is_some());
}

pub async fn readers_of_several_processes_share(lab: &Lab) {
    let (a, b) = (lab.lock("key"), lab.lock("key"));
    let first = a.try_read().await.unwrap().expect("the lock is free");
    let second = b.try_read().await.unwrap().expect("readers share");
    let holders = lab.witness().holders("key".into()).await.unwrap();
    assert_eq!(holders.iter().map(|row| row.mode).collect::<Vec<_>>(), [Mode::Read; 2]);
    drop((first, second));
}

pub async fn reader_excludes_writers_of_other_processes(lab: &Lab) {
    let (a, b) = (lab.lock("key"), lab.lock("key"));
    let guard = a.try_read().await.unwrap().expect("the lock is free");
    assert!(b.try_write().await.unwrap().is_none());
    guard.release().await.unwrap();
    assert!(b.try_write().await.unwrap().is_some());
}

pub async fn writer_excludes_tasks_of_its_own_process(lab: &Lab) {
    let lock = lab.lock("key");
    let guard = lock.write().await.unwrap();
    assert!(lock.try_write().await.unwrap().is_none());
    assert!(lock.try_read().await.unwrap().is_none());
    drop(guard);
    assert!(lock.try_write().await.unwrap().is_some());
}

pub async fn readers_of_one_process_share(lab: &Lab) {
    let lock = lab.lock("key");
    let first = lock.read().await.unwrap();
    let second = lock.try_read().await.unwrap().expect("readers share");
    // Long after the first: readers share an old grant as well.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let third = lock.try_read().await.unwrap().expect("readers share");
    first.release().await.unwrap();
    second.release().await.unwrap();
    assert!(third.is_held());
    assert_eq!(lab.witness().holders("key".into()).await.unwrap().len(), 1);
    third.release().await.unwrap();
}

pub async fn reader_excludes_writers_of_its_own_process(lab: &Lab) {
    let lock = lab.lock("key");
    let guard = lock.read().await.unwrap();
    assert!(lock.try_write().await.unwrap().is_none());
    guard.release().await.unwrap();
    assert!(lock.try_write().await.unwrap().is_some());
}

pub async fn two_locks_on_one_key_are_two_callers(lab: &Lab) {
    let manager = lab.manager();
    let (a, b) = (manager.lock("key"), manager.lock("key"));
    let guard = a.write().await.unwrap();
    assert!(b.try_write().await.unwrap().is_none());
    guard.release().await.unwrap();
    assert!(b.try_write().await.unwrap().is_some());
}

pub async fn one_of_many_tries_succeeds(lab: &Lab) {
    for _ in 0..20 {
        let mut tries = Vec::new();
        for _ in 0..2 {
            let lock = lab.lock("key");
            for _ in 0..5 {
                let lock = lock.clone();
                tries.push(start(async move { lock.try_write().await }));
            }
        }
        let mut guards = Vec::new();
        for attempt in tries {
            guards.extend(attempt.await.unwrap().unwrap());
        }
        assert_eq!(guards.len(), 1);
        guards.remove(0).release().await.unwrap();
    }
}

pub async fn keys_do_not_interfere(lab: &Lab) {
    let manager = lab.manager();
    let guard = manager.lock("one").write().await.unwrap();
    let other = manager.lock("two").try_write().await.unwrap();
    let third = lab.lock("three").try_write().await.unwrap();
    assert!(other.is_some() && third.is_some());
    assert_eq!(guard.key(), LockKey::from("one"));
}

pub async fn intervals_of_conflicting_guards_never_overlap(lab: &Lab) {
    /// A reader counts 1, a writer this much.
    const WRITER: i64 = 1_000_000;
    let inside = Arc::new(AtomicI64::new(0));
    let served = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for process in 0..3 {
        let lock = lab.lock("key");
        for task in 0..4 {
            let (lock, inside, served) = (lock.clone(), inside.clone(), served.clone());
            tasks.push(start(async move {
                for turn in 0..40 {
                    if (turn + task + process) % 3 == 0 {
                        let guard = lock.write().await.unwrap();
                        assert_eq!(inside.fetch_add(WRITER, Ordering::SeqCst), 0);
                        tokio::task::yield_now().await;
                        assert_eq!(inside.fetch_sub(WRITER, Ordering::SeqCst), WRITER);
                        drop(guard);
                    } else {
                        let guard = lock.read().await.unwrap();
                        assert!(inside.fetch_add(1, Ordering::SeqCst) < WRITER);
                        tokio::task::yield_now().await;
                        assert!(inside.fetch_sub(1, Ordering::SeqCst) < WRITER);
                        drop(guard);
                    }
                    served.fetch_add(1, Ordering::SeqCst);
                }
            }));
        }
    }
    for task in tasks {
        soon("the lock comes free", task).await.unwrap();
    }
    assert_eq!(served.load(Ordering::SeqCst), 480);
}

/// If a session took a lock twice, it would have to release it twice.
pub async fn server_counts_one_lock_per_key_and_session(lab: &Lab) {
    let lock = lab.lock("key");
    for _ in 0..1000 {
        let first = lock.try_read().await.unwrap().expect("the lock is free");
        let second = lock.try_read().await.unwrap().expect("readers share");
        drop((first, second));
    }
    let guards = [lock.read().await.unwrap(), lock.read().await.unwrap()];
    for guard in guards {
        guard.release().await.unwrap();
    }
    assert!(lab.witness().holders("key".into()).await.unwrap().is_empty());
}

/// The server cannot see a deadlock between two sessions of one process.
pub async fn sessions_that_wait_hold_nothing(lab: &Lab) {
    let witness = lab.witness();
    witness.hold("busy".into(), Mode::Write).await.unwrap();
    witness.hold("shared".into(), Mode::Read).await.unwrap();
    let manager = lab.manager();
    let mut held = Vec::new();
    for key in 0..20 {
        held.push(manager.lock(key).write().await.unwrap());
    }
    let mut waits = Vec::new();
    for key in ["busy", "shared"] {
        let lock = manager.lock(key);
        waits.push(start(async move { lock.write().await }));
        witness.until_waiting(key.into(), 1).await.unwrap();
    }
    let locks = witness.locks().await.unwrap();
    for waiter in locks.iter().filter(|row| !row.granted) {
        assert!(locks.iter().all(|row| row.pid != waiter.pid || !row.granted), "{locks:?}");
    }
    witness.release("busy".into(), Mode::Write).await.unwrap();
    witness.release("shared".into(), Mode::Read).await.unwrap();
    for wait in waits {
        drop(soon("a free lock is not granted", wait).await.unwrap().unwrap());
    }
}
