//! Waiting for a lock that is not free.

use std::time::{Duration, Instant};

use pglock_core::{ErrorKind, LockKey, Mode, WaitStrategy};

use crate::conformance::{Lab, Options, group, soon, start};

group! { waiting:
    write_waits_for_a_writer_of_another_process,
    write_waits_for_readers_of_other_processes,
    read_waits_for_a_writer_of_another_process,
    write_waits_for_a_writer_of_its_own_process,
    readers_come_in_together_after_a_writer,
    timeout_is_an_error_that_names_the_key,
    timeout_returns_in_time,
    zero_timeout_tries_once,
    longest_timeout_waits,
    timed_wait_gets_a_lock_that_comes_free_in_time,
    polling_waits_without_a_place_in_the_servers_queue,
    more_keys_are_waited_for_than_there_are_sessions,
}

pub async fn write_waits_for_a_writer_of_another_process(lab: &Lab) {
    let (a, b) = (lab.lock("key"), lab.lock("key"));
    let guard = a.write().await.unwrap();
    let wait = start(async move { b.write().await });
    lab.witness().until_waiting("key".into(), 1).await.unwrap();
    guard.release().await.unwrap();
    soon("the lock is free", wait).await.unwrap().unwrap().release().await.unwrap();
}

pub async fn write_waits_for_readers_of_other_processes(lab: &Lab) {
    let (a, b, c) = (lab.lock("key"), lab.lock("key"), lab.lock("key"));
    let readers = [a.read().await.unwrap(), b.read().await.unwrap()];
    let wait = start(async move { c.write().await });
    for reader in readers {
        lab.witness().until_waiting("key".into(), 1).await.unwrap();
        reader.release().await.unwrap();
    }
    soon("the lock is free", wait).await.unwrap().unwrap().release().await.unwrap();
}

pub async fn read_waits_for_a_writer_of_another_process(lab: &Lab) {
    let (a, b) = (lab.lock("key"), lab.lock("key"));
    let guard = a.write().await.unwrap();
    let wait = start(async move { b.read().await });
    let waiters = lab.witness().until_waiting("key".into(), 1).await.unwrap();
    assert_eq!(waiters[0].mode, Mode::Read);
    guard.release().await.unwrap();
    soon("the lock is free", wait).await.unwrap().unwrap().release().await.unwrap();
}

pub async fn write_waits_for_a_writer_of_its_own_process(lab: &Lab) {
    let manager = lab.manager();
    let lock = manager.lock("key");
    let guard = lock.write().await.unwrap();
    let wait = start(async move { lock.write().await });
    lab.until_queued(&manager, 1).await;
    assert!(!wait.is_finished());
    guard.release().await.unwrap();
    soon("the lock is free", wait).await.unwrap().unwrap().release().await.unwrap();
}

pub async fn readers_come_in_together_after_a_writer(lab: &Lab) {
    let (a, b, c) = (lab.lock("key"), lab.lock("key"), lab.lock("key"));
    let guard = a.write().await.unwrap();
    let waits = [start(async move { b.read().await }), start(async move { c.read().await })];
    lab.witness().until_waiting("key".into(), 2).await.unwrap();
    guard.release().await.unwrap();
    let mut readers = Vec::new();
    for wait in waits {
        // Neither is dropped before the other one has the lock.
        readers.push(soon("readers share", wait).await.unwrap().unwrap());
    }
}

pub async fn timeout_is_an_error_that_names_the_key(lab: &Lab) {
    let (a, b) = (lab.lock("key"), lab.lock("key"));
    let _guard = a.write().await.unwrap();
    // Connects both first: otherwise the error is about connecting.
    assert!(b.try_write().await.unwrap().is_none());
    for lock in [&a, &b] {
        let write = lock.try_write_for(Duration::from_millis(30)).await.unwrap_err();
        let read = lock.try_read_for(Duration::from_millis(30)).await.unwrap_err();
        for error in [write, read] {
            assert_eq!(error.kind(), ErrorKind::Timeout);
            assert_eq!(error.key(), Some(LockKey::from("key")));
            assert!(error.to_string().contains(&LockKey::from("key").to_string()));
        }
    }
}

pub async fn timeout_returns_in_time(lab: &Lab) {
    let (a, b) = (lab.lock("key"), lab.lock("key"));
    let _guard = a.write().await.unwrap();
    let given = Duration::from_millis(100);
    let mut over = Vec::new();
    for _ in 0..20 {
        let begin = Instant::now();
        b.try_write_for(given).await.unwrap_err();
        over.push(begin.elapsed().checked_sub(given).expect("never before the time is over"));
    }
    over.sort();
    // The median, since the machine may delay one of them.
    assert!(over[over.len() / 2] < Duration::from_millis(150), "{over:?}");
}

pub async fn zero_timeout_tries_once(lab: &Lab) {
    let (a, b) = (lab.lock("key"), lab.lock("key"));
    a.try_write_for(Duration::ZERO).await.unwrap().release().await.unwrap();
    let guard = a.write().await.unwrap();
    for error in [
        b.try_write_for(Duration::ZERO).await.unwrap_err(),
        b.try_read_for(Duration::ZERO).await.unwrap_err(),
        a.try_write_for(Duration::ZERO).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Timeout);
    }
    drop(guard);
}

pub async fn longest_timeout_waits(lab: &Lab) {
    let (a, b) = (lab.lock("key"), lab.lock("key"));
    let guard = a.write().await.unwrap();
    let wait = start(async move { b.try_write_for(Duration::MAX).await });
    lab.witness().until_waiting("key".into(), 1).await.unwrap();
    drop(guard);
    soon("the lock is free", wait).await.unwrap().unwrap().release().await.unwrap();
}

pub async fn timed_wait_gets_a_lock_that_comes_free_in_time(lab: &Lab) {
    let (a, b) = (lab.lock("key"), lab.lock("key"));
    let guard = a.write().await.unwrap();
    let wait = start(async move { b.try_read_for(Duration::from_secs(10)).await });
    lab.witness().until_waiting("key".into(), 1).await.unwrap();
    drop(guard);
    soon("the lock is free", wait).await.unwrap().unwrap().release().await.unwrap();
}

pub async fn polling_waits_without_a_place_in_the_servers_queue(lab: &Lab) {
    let poll = WaitStrategy::Poll { interval: Duration::from_millis(5) };
    let manager = lab.manager_with(&Options { wait_strategy: poll, ..Options::default() });
    let lock = manager.lock("key");
    let guard = lab.lock("key").write().await.unwrap();
    let wait = start(async move { lock.write().await });
    lab.until_queued(&manager, 1).await;
    for _ in 0..20 {
        assert!(lab.witness().waiters("key".into()).await.unwrap().is_empty());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!wait.is_finished());
    drop(guard);
    soon("the lock is free", wait).await.unwrap().unwrap().release().await.unwrap();
}

/// A queue for waiting sessions would deadlock here, because each key may be freed only after
/// another one was granted.
pub async fn more_keys_are_waited_for_than_there_are_sessions(lab: &Lab) {
    let manager = lab.manager_with(&Options { max_waiting_sessions: 2, ..Options::default() });
    let other = lab.manager();
    let mut held = Vec::new();
    let mut waits = Vec::new();
    for key in 0..6 {
        held.push(other.lock(key).write().await.unwrap());
        let lock = manager.lock(key);
        waits.push(start(async move { lock.write().await }));
    }
    lab.until_queued(&manager, 6).await;
    // The last ones first. All are kept, so no session becomes free.
    let mut granted = Vec::new();
    while let (Some(guard), Some(wait)) = (held.pop(), waits.pop()) {
        guard.release().await.unwrap();
        granted.push(soon("the lock is free", wait).await.unwrap().unwrap());
    }
    assert!(granted.iter().all(|guard| guard.is_held()));
}
