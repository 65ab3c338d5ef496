//! What the server in memory provides for the tests of applications.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pglock_core::recipes::schedule::MemorySlots;
use pglock_core::{ErrorKind, Locks, Mode, WaitStrategy};
use pglock_testkit::conformance::{soon, start};
use pglock_testkit::memory::{MemoryServer, MemoryWitness};
use pglock_testkit::witness::Witness;
use pglock_testkit::{memory, slots};
use tokio::runtime::Handle;
use tokio::time::Instant;

#[tokio::test]
async fn each_manager_of_its_own_has_locks_of_its_own() {
    let (a, b) = (memory(), memory());
    let _guard = a.rwlock("key").write().await.unwrap();
    assert!(b.rwlock("key").try_write().await.unwrap().is_some());
    assert!(a.rwlock("key").try_write().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn timeouts_pass_at_once_when_the_clock_is_paused() {
    let server = MemoryServer::new();
    let locks = || locks_here(&server);
    let guard = locks().rwlock("key").write().await.unwrap();
    let begin = Instant::now();
    let hour = Duration::from_secs(3600);
    let error = locks().rwlock("key").try_write_for(hour).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(begin.elapsed() >= hour && guard.is_held());
}

/// On the runtime of the test, whose clock is paused.
fn locks_here(server: &MemoryServer) -> Locks {
    Locks::builder(server.driver()).runtime(Handle::current()).build().unwrap()
}

/// As in a process that continues after a stop: time has passed, but nothing has run since.
#[tokio::test(start_paused = true)]
async fn work_and_loss_go_by_the_clock_before_anything_else_has_run() {
    let server = MemoryServer::new();
    let guard = locks_here(&server).rwlock("key").write().await.unwrap();
    let polls = Cell::new(0);
    let mut work = pin!(guard.protect(poll_fn(|_| {
        polls.set(polls.get() + 1);
        Poll::<()>::Pending
    })));
    let mut lost = pin!(guard.lost());
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(work.as_mut().poll(cx).is_pending() && lost.as_mut().poll(cx).is_pending());
    // Polling this puts the clock ahead; other tasks run later.
    let mut pause = pin!(tokio::time::advance(Duration::from_secs(11)));
    assert!(pause.as_mut().poll(cx).is_pending());
    let Poll::Ready(Err(error)) = work.as_mut().poll(cx) else {
        panic!("the work continues");
    };
    assert_eq!(error.kind(), ErrorKind::Lost);
    assert!(lost.as_mut().poll(cx).is_ready());
    assert_eq!(polls.get(), 1);
}

#[tokio::test]
async fn no_time_is_too_long() {
    let server = MemoryServer::new();
    let polls = WaitStrategy::Poll { interval: Duration::MAX };
    for strategy in [WaitStrategy::Queue, polls] {
        let builder = Locks::builder(server.driver())
            .hand_over_count(u32::MAX)
            .hand_over_age(Duration::MAX)
            .idle_timeout(Duration::MAX)
            .share_write_locks(true)
            .wait_strategy(strategy);
        let (locks, others) = (builder.build().unwrap(), server.locks());
        let lock = locks.rwlock("key");
        let write = lock.try_write_for(Duration::MAX).await.unwrap();
        let waits = [Mode::Read, Mode::Write].map(|mode| {
            let lock = locks.rwlock("key");
            start(async move {
                match mode {
                    Mode::Read => lock.try_read_for(Duration::MAX).await.map(drop),
                    Mode::Write => lock.try_write_for(Duration::MAX).await.map(drop),
                }
            })
        });
        assert!(others.rwlock("key").try_write().await.unwrap().is_none());
        drop(write);
        for wait in waits {
            soon("it passes on", wait).await.unwrap().unwrap();
        }
        let busy = others.rwlock("other").write().await.unwrap();
        let wait = locks.rwlock("other").try_write_for(Duration::from_millis(50)).await;
        assert_eq!(wait.unwrap_err().kind(), ErrorKind::Timeout);
        drop(busy);
        locks.close().await.unwrap();
    }
    for lease in [Duration::MAX, Duration::from_secs(15)] {
        let builder =
            Locks::builder(server.driver()).server_lease(lease).guard_lease(Duration::MAX);
        assert_eq!(builder.build().unwrap_err().kind(), ErrorKind::InvalidOptions);
    }
}

#[tokio::test]
async fn ten_thousand_tasks_wait_and_ten_thousand_keys_are_held() {
    let server = MemoryServer::new();
    let ours = Locks::builder(server.driver()).max_locks(20_000).build().unwrap();
    let others = server.locks();
    let begin = std::time::Instant::now();
    let busy = others.rwlock("busy").write().await.unwrap();
    let mut held = Vec::new();
    for key in 0..10_000 {
        held.push(ours.rwlock(key).write().await.unwrap());
    }
    let waits: Vec<_> = (0..10_000)
        .map(|_| {
            let lock = ours.rwlock("busy");
            start(async move { lock.write().await.unwrap().release().await })
        })
        .collect();
    let witness = MemoryWitness::connect(&server).unwrap();
    witness.until_waiting("busy".into(), 1).await.unwrap();
    busy.release().await.unwrap();
    for wait in waits {
        wait.await.unwrap().unwrap();
    }
    drop(held);
    witness.until_quiet().await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    println!("{:?}", begin.elapsed());
}

#[tokio::test]
async fn ten_thousand_sessions_wait_for_one_lock() {
    let server = MemoryServer::new();
    let begin = std::time::Instant::now();
    let guard = server.locks().rwlock("key").write().await.unwrap();
    let witness = MemoryWitness::connect(&server).unwrap();
    let mut waits = Vec::new();
    for waiter in 0..10_000 {
        let other = MemoryWitness::connect(&server).unwrap();
        let mode = if waiter % 2 == 0 { Mode::Read } else { Mode::Write };
        waits.push(start(async move { other.hold("key".into(), mode).await }));
    }
    witness.until_waiting("key".into(), 10_000).await.unwrap();
    guard.release().await.unwrap();
    // Each guard and its witness are dropped as soon as the lock is granted.
    for wait in waits {
        wait.await.unwrap().unwrap();
    }
    witness.until_quiet().await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    println!("{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn delayed_answers_take_that_long() {
    let server = MemoryServer::new();
    server.delay_answers(Duration::from_millis(200));
    let locks = locks_here(&server);
    drop(locks.rwlock("other").write().await.unwrap());
    let begin = Instant::now();
    let guard = locks.rwlock("key").write().await.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(200), "{:?}", begin.elapsed());
    guard.release().await.unwrap();
}

#[tokio::test]
async fn refused_connections_are_reported_and_survived() {
    let server = MemoryServer::new();
    let locks = server.locks();
    server.refuse_connections(true);
    let error = locks.rwlock("key").write().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection);
    server.refuse_connections(false);
    locks.rwlock("key").write().await.unwrap().release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn check_of_a_silent_server_ends_in_time() {
    let server = MemoryServer::new();
    let (locks, begin) = (locks_here(&server), Instant::now());
    server.delay_answers(Duration::from_secs(3600));
    assert_eq!(locks.check().await.unwrap_err().kind(), ErrorKind::Connection);
    assert!(begin.elapsed() <= Duration::from_secs(11), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn outage_is_reported_and_survived() {
    let server = MemoryServer::new();
    let locks = server.locks();
    let guard = locks.rwlock("key").write().await.unwrap();
    server.refuse_connections(true);
    server.terminate_all();
    soon("the loss is reported", guard.lost()).await;
    let lock = locks.rwlock("key");
    let wait = start(async move { lock.write().await });
    server.refuse_connections(false);
    drop(soon("the server is back", wait).await.unwrap().unwrap());
    assert_eq!(guard.release().await.unwrap_err().kind(), ErrorKind::Lost);
}

#[tokio::test]
async fn refused_statement_is_reported_and_costs_no_held_lock() {
    let server = MemoryServer::new();
    let locks = server.locks();
    let guard = locks.rwlock("held").write().await.unwrap();
    server.refuse_statements(true);
    let error = locks.rwlock("key").try_write().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Driver);
    server.refuse_statements(false);
    assert!(guard.is_held());
    guard.release().await.unwrap();
    drop(locks.rwlock("key").try_write().await.unwrap().expect("the lock is free"));
}

#[tokio::test]
async fn cancelled_wait_goes_on() {
    let server = MemoryServer::new();
    let guard = server.locks().rwlock("key").write().await.unwrap();
    let lock = server.locks().rwlock("key");
    let wait = start(async move { lock.write().await });
    let witness = MemoryWitness::connect(&server).unwrap();
    for _ in 0..3 {
        let waiter = witness.until_waiting("key".into(), 1).await.unwrap()[0].pid;
        assert!(server.cancel(waiter));
    }
    assert!(guard.is_held());
    guard.release().await.unwrap();
    drop(soon("the wait continues", wait).await.unwrap().unwrap());
    assert!(!server.cancel(0) && !server.terminate(0));
}

#[tokio::test]
async fn manager_that_may_not_cancel_polls() {
    let server = MemoryServer::new();
    let witness = MemoryWitness::connect(&server).unwrap();
    server.refuse_cancels(true);
    let (holder, locks) = (server.locks(), server.locks());
    let guard = holder.rwlock("key").write().await.unwrap();
    let lock = locks.rwlock("key");
    assert_eq!(locks.stats().can_cancel, None);
    locks.check().await.unwrap();
    lock.try_write_for(Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(locks.stats().can_cancel, Some(false));
    assert_eq!(locks.stats().sessions, 1);
    assert!(witness.waiters("key".into()).await.unwrap().is_empty());
    let wait = start(async move { lock.write().await });
    guard.release().await.unwrap();
    drop(soon("the lock is free", wait).await.unwrap().unwrap());
}

#[test]
fn what_users_hold_may_cross_threads() {
    fn check<T: Send + Sync + 'static>(_: &T) {}
    let server = MemoryServer::new();
    check(&server.locks());
    check(&server);
    assert_eq!(format!("{server:?}"), "MemoryServer { sessions: 0, .. }");
    assert!(server.sessions("pglock").is_empty());
}

#[tokio::test]
async fn store_in_memory_keeps_slots() {
    slots::check(Arc::new(MemorySlots::new())).await;
}

#[tokio::test]
async fn manager_takes_all_or_any_of_several_keys() {
    let server = MemoryServer::new();
    let (locks, witness) = (server.locks(), MemoryWitness::connect(&server).unwrap());
    let modes = async |key: &str| {
        let holders = witness.holders(key.into()).await.unwrap();
        holders.iter().map(|row| row.mode).collect::<Vec<_>>()
    };
    let reads = locks.read_all(["b", "a"]).await.unwrap();
    assert_eq!((modes("a").await, modes("b").await), (vec![Mode::Read], vec![Mode::Read]));
    reads.release().await.unwrap();
    let writes = locks.write_all(["b", "a"]).await.unwrap();
    assert_eq!((modes("a").await, modes("b").await), (vec![Mode::Write], vec![Mode::Write]));
    let other = server.locks();
    assert!(other.try_write_any(["a", "b"]).await.unwrap().is_none());
    let any = other.try_write_any(["a", "c"]).await.unwrap().unwrap();
    assert_eq!((any.key(), modes("c").await), ("c".into(), vec![Mode::Write]));
    let wait = start(async move { other.write_any(["a", "b"]).await.unwrap() });
    witness.until_waiting("b".into(), 1).await.unwrap();
    writes.release().await.unwrap();
    let next = soon("both are free", wait).await.unwrap();
    let free = if next.key() == "a".into() { "b" } else { "a" };
    assert_eq!(modes(if free == "a" { "b" } else { "a" }).await, [Mode::Write]);
    // Perhaps both were granted to the wait; it releases this one in the background.
    witness.until_free(free.into()).await.unwrap();
}
