//! Acquires that end without a guard: dropped, timed out or failed.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pglock_core::{LockKey, Mode};
use tokio::time::timeout;

use crate::conformance::{Lab, group, soon, start};

group! { cancelling:
    dropped_waiter_leaves_the_servers_queue,
    dropped_reader_leaves_the_servers_queue,
    dropped_waiter_leaves_the_local_queue,
    timed_out_waiter_leaves_the_servers_queue,
    try_succeeds_at_once_after_a_timeout,
    failed_acquires_hold_nothing,
    acquire_may_be_dropped_at_any_poll_when_free,
    acquire_may_be_dropped_at_any_poll_when_contended,
    acquires_dropped_at_random_leave_nothing,
    cancelled_waits_hit_no_later_operation,
}

pub async fn dropped_waiter_leaves_the_servers_queue(lab: &Lab) {
    let witness = lab.witness();
    let (a, b, c) = (lab.lock("key"), lab.lock("key"), lab.lock("key"));
    let reader = a.read().await.unwrap();
    let wait = start(async move { b.write().await });
    witness.until_waiting("key".into(), 1).await.unwrap();
    assert!(c.try_read().await.unwrap().is_none(), "a writer waits");
    wait.abort();
    assert!(wait.await.unwrap_err().is_cancelled());
    let second = soon("the queue moves on", c.read()).await.unwrap();
    drop((reader, second));
}

pub async fn dropped_reader_leaves_the_servers_queue(lab: &Lab) {
    let witness = lab.witness();
    let (a, b) = (lab.lock("key"), lab.lock("key"));
    let writer = a.write().await.unwrap();
    let wait = start(async move { b.read().await });
    witness.until_waiting("key".into(), 1).await.unwrap();
    wait.abort();
    assert!(wait.await.unwrap_err().is_cancelled());
    soon("the reader leaves", async {
        while !witness.waiters("key".into()).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    assert!(writer.is_held());
}

pub async fn dropped_waiter_leaves_the_local_queue(lab: &Lab) {
    let manager = lab.manager();
    let lock = manager.lock("key");
    let guard = lock.write().await.unwrap();
    let mut waits = Vec::new();
    for position in 1..=3 {
        let lock = lock.clone();
        waits.push(start(async move { lock.write().await }));
        lab.until_queued(&manager, position).await;
    }
    waits.remove(1).abort();
    lab.until_queued(&manager, 2).await;
    drop(guard);
    for wait in waits {
        soon("the queue moves on", wait).await.unwrap().unwrap().release().await.unwrap();
    }
}

pub async fn timed_out_waiter_leaves_the_servers_queue(lab: &Lab) {
    let (a, b) = (lab.lock("key"), lab.lock("key"));
    let guard = a.write().await.unwrap();
    b.try_write_for(Duration::from_millis(50)).await.unwrap_err();
    b.try_read_for(Duration::from_millis(50)).await.unwrap_err();
    let witness = lab.witness();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !witness.waiters("key".into()).await.unwrap().is_empty() {
        assert!(Instant::now() < deadline, "the waiter is still there");
    }
    assert!(guard.is_held());
}

pub async fn try_succeeds_at_once_after_a_timeout(lab: &Lab) {
    let (a, b) = (lab.lock("key"), lab.lock("key"));
    for _ in 0..20 {
        let guard = a.write().await.unwrap();
        b.try_write_for(Duration::from_millis(5)).await.unwrap_err();
        guard.release().await.unwrap();
        // The server is just cancelling the previous wait.
        b.try_write().await.unwrap().expect("the lock is free").release().await.unwrap();
    }
}

/// A failing wait may be granted at the same moment, so the holder's release is swept across the
/// end of the wait.
pub async fn failed_acquires_hold_nothing(lab: &Lab) {
    let manager = lab.manager();
    let lock = manager.lock("key");
    let witness = lab.witness();
    let (mut failed, mut granted) = (0, 0);
    for round in 0..240_u64 {
        witness.hold("key".into(), Mode::Write).await.unwrap();
        let wait = Duration::from_micros(4000);
        let release_at =
            wait + Duration::from_micros(100 * (round % 40)) - Duration::from_micros(2000);
        let end = Instant::now();
        let acquire = async {
            if round % 2 == 0 {
                lock.try_write_for(wait).await.map(drop).is_ok()
            } else {
                timeout(wait, lock.write()).await.is_ok()
            }
        };
        let release = async {
            while end.elapsed() < release_at {
                tokio::task::yield_now().await;
            }
            assert!(witness.release("key".into(), Mode::Write).await.unwrap());
        };
        if tokio::join!(acquire, release).0 {
            granted += 1;
        } else {
            failed += 1;
        }
        witness.until_free("key".into()).await.unwrap();
    }
    assert!(failed > 20, "{failed} failed, {granted} were granted");
}

pub async fn acquire_may_be_dropped_at_any_poll_when_free(lab: &Lab) {
    for polls in 0..30 {
        let manager = lab.manager();
        let lock = manager.lock("key");
        drop_after(polls, || lock.write()).await;
        drop_after(polls, || lock.read()).await;
        drop_after(polls, || lock.try_write()).await;
        drop_after(polls, || lock.try_write_for(Duration::from_secs(5))).await;
        lab.witness().until_free("key".into()).await.unwrap();
        let guard = soon("the lock is free", lock.write()).await.unwrap();
        guard.release().await.unwrap();
        assert_eq!(manager.stats().waiting, 0);
        assert_eq!(manager.stats().held, 0);
    }
}

pub async fn acquire_may_be_dropped_at_any_poll_when_contended(lab: &Lab) {
    let holder = lab.lock("key");
    for polls in 0..30 {
        let manager = lab.manager();
        let lock = manager.lock("key");
        let guard = holder.write().await.unwrap();
        drop_after(polls, || lock.write()).await;
        let behind = lock.clone();
        let wait = start(async move { behind.read().await });
        drop_after(polls, || lock.write()).await;
        drop_after(polls, || lock.read()).await;
        drop_after(polls, || lock.try_read()).await;
        drop_after(polls, || lock.try_read_for(Duration::from_secs(5))).await;
        guard.release().await.unwrap();
        soon("the queue moves on", wait).await.unwrap().unwrap().release().await.unwrap();
        lab.witness().until_free("key".into()).await.unwrap();
        assert_eq!(manager.stats().waiting, 0);
    }
}

/// Polls up to this many times, each time when woken or after a short while, then drops.
pub(super) async fn drop_after<F: Future>(polls: usize, make: impl FnOnce() -> F) {
    let mut future = pin!(make());
    for _ in 0..polls {
        let mut polled = false;
        let once = std::future::poll_fn(|cx: &mut Context<'_>| {
            if polled {
                return Poll::Ready(false);
            }
            polled = true;
            if future.as_mut().poll(cx).is_ready() {
                return Poll::Ready(true);
            }
            Poll::Pending
        });
        // Polls again after this time even without a wake-up.
        if timeout(Duration::from_millis(1), once).await.unwrap_or(false) {
            return;
        }
    }
}

pub async fn acquires_dropped_at_random_leave_nothing(lab: &Lab) {
    const TASKS: u64 = 64;
    const TURNS: u64 = 100_000 / TASKS + 1;
    let managers = [lab.manager(), lab.manager()];
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let lock = managers[task as usize % 2].lock("key");
        tasks.push(start(async move {
            // Any spread will do, so this is a multiplicative generator.
            let mut random = task + 1;
            for _ in 0..TURNS {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let patience = Duration::from_micros((random >> 33) % 3000);
                if (random >> 20) % 2 == 0 {
                    let _ = timeout(patience, lock.write()).await;
                } else {
                    let _ = timeout(patience, lock.read()).await;
                }
            }
        }));
    }
    for task in tasks {
        soon("dropped acquires block others", task).await.unwrap();
    }
    lab.witness().until_quiet().await.unwrap();
    for manager in managers {
        // The manager learns of a release at the server one answer later.
        lab.until("nothing is held here", || manager.stats().held == 0).await;
        let stats = manager.stats();
        assert_eq!(stats.waiting, 0);
        // At most four that hold and four that wait, however many acquires were dropped.
        assert!(stats.sessions <= 8, "{stats:?}");
        let lock = manager.lock("key");
        soon("the lock is free", lock.write()).await.unwrap().release().await.unwrap();
    }
}

pub async fn cancelled_waits_hit_no_later_operation(lab: &Lab) {
    let witness = lab.witness();
    let manager = lab.manager();
    let key = LockKey::from("key");
    let lock = manager.lock(key);
    let mut given_up = 0;
    for round in 0..300_u64 {
        witness.hold(key, Mode::Write).await.unwrap();
        witness.hold("next".into(), Mode::Write).await.unwrap();
        let begin = Instant::now();
        let patience = Duration::from_millis(5);
        // From 3 ms before the cancel to 3 ms after it.
        let release_at = patience - Duration::from_millis(3) + Duration::from_micros(20 * round);
        let given = async {
            if timeout(patience, lock.write()).await.is_err() {
                given_up += 1;
            }
            // Starts at once, to hit the cancelled wait: the same key, another key, and a wait that
            // takes over the session of the cancelled one.
            let (other, next) = (manager.lock("other"), manager.lock("next"));
            let (same, other, wait) = tokio::join!(
                lock.try_read(),
                other.write(),
                next.try_write_for(Duration::from_secs(10)),
            );
            same.map(drop).unwrap();
            drop(other.unwrap());
            wait.unwrap().release().await.unwrap();
            lock.write().await.unwrap().release().await.unwrap();
        };
        let release = async {
            while begin.elapsed() < release_at {
                tokio::task::yield_now().await;
            }
            assert!(witness.release(key, Mode::Write).await.unwrap());
            tokio::time::sleep(Duration::from_millis(3)).await;
            assert!(witness.release("next".into(), Mode::Write).await.unwrap());
        };
        soon("the round ends", async { tokio::join!(given, release) }).await;
    }
    assert!(given_up > 30, "{given_up}");
    witness.until_quiet().await.unwrap();
}
