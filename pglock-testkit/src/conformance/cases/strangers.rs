//! Functions and wakers of the application that panic or block harm no other caller.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Context, Wake, Waker};

use pglock_core::Mode;

use crate::conformance::{Lab, group, soon, start};

group! { strangers:
    panic_in_a_listener_harms_no_other: Sessions,
    blocking_listener_holds_up_no_caller: Sessions,
    panic_in_the_drop_of_a_listener_harms_no_other,
    panic_in_a_waker_harms_no_other,
    guard_dropped_after_its_loss_has_reported_it: Sessions,
}

fn count(calls: &Arc<AtomicUsize>) -> impl FnOnce() + Send + 'static {
    let calls = calls.clone();
    move || {
        calls.fetch_add(1, Ordering::SeqCst);
    }
}

/// Panics when it is dropped, too.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a stranger's drop panics");
    }
}

pub async fn panic_in_a_listener_harms_no_other(lab: &Lab) {
    let manager = lab.manager();
    let lock = |name: &str| manager.lock(name);
    let (bad, good) = (lock("bad").write().await.unwrap(), lock("good").write().await.unwrap());
    let calls = Arc::new(AtomicUsize::new(0));
    bad.on_loss(|| panic!("a stranger's function panics"));
    bad.on_loss(count(&calls));
    good.on_loss(count(&calls));
    lab.witness().hold("busy".into(), Mode::Write).await.unwrap();
    let wait = start({
        let busy = lock("busy");
        async move { busy.write().await }
    });
    lab.witness().until_waiting("busy".into(), 1).await.unwrap();
    lab.end_sessions().await;
    soon("the loss is noticed", good.lost()).await;
    lab.until("the others are called", || calls.load(Ordering::SeqCst) == 2).await;
    drop((bad, good));
    // The loss may have ended the witness's own session, too.
    let _ = lab.witness().release("busy".into(), Mode::Write).await;
    soon("the waiter", wait).await.unwrap().unwrap().release().await.unwrap();
    soon("a new lock", lock("good").write()).await.unwrap().release().await.unwrap();
}

pub async fn blocking_listener_holds_up_no_caller(lab: &Lab) {
    let manager = lab.manager();
    let guard = manager.lock("key").write().await.unwrap();
    let (end, ended) = mpsc::channel::<()>();
    let called = Arc::new(AtomicUsize::new(0));
    let begin = count(&called);
    guard.on_loss(move || {
        begin();
        let _ = ended.recv();
    });
    lab.end_sessions().await;
    lab.until("it is called", || called.load(Ordering::SeqCst) == 1).await;
    let lock = manager.lock("other");
    for _ in 0..10 {
        soon("the engine continues", lock.write()).await.unwrap().release().await.unwrap();
    }
    drop((guard, end));
}

pub async fn panic_in_the_drop_of_a_listener_harms_no_other(lab: &Lab) {
    let lock = lab.lock("key");
    let guard = lock.write().await.unwrap();
    let bomb = Bomb;
    guard.on_loss(move || {
        let _bomb = &bomb;
    });
    drop(guard);
    soon("the lock is free", lock.write()).await.unwrap().release().await.unwrap();
}

struct PanickingWaker;

impl Wake for PanickingWaker {
    fn wake(self: Arc<Self>) {
        panic!("a stranger's waker panics");
    }
}

pub async fn panic_in_a_waker_harms_no_other(lab: &Lab) {
    let lock = lab.lock("key");
    let other = lab.lock("other");
    let guard = lock.write().await.unwrap();
    let kept = other.write().await.unwrap();
    let waker = Waker::from(Arc::new(PanickingWaker));
    let mut bad = pin!(lock.read());
    assert!(bad.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let good = start({
        let lock = lock.clone();
        async move { lock.read().await }
    });
    lab.witness().until_free("unused".into()).await.unwrap();
    guard.release().await.unwrap();
    soon("the waiter behind it", good).await.unwrap().unwrap().release().await.unwrap();
    assert!(kept.is_held());
    // It has been granted the lock, and finds out when polled.
    drop(soon("the one with the waker", bad).await.unwrap());
    kept.release().await.unwrap();
}

/// A guard that is dropped as soon as it learns of its loss.
pub async fn guard_dropped_after_its_loss_has_reported_it(lab: &Lab) {
    let calls = Arc::new(AtomicUsize::new(0));
    let rounds = 30;
    for _ in 0..rounds {
        let lock = lab.lock("key");
        let mut waits = Vec::new();
        let mut guards = Vec::new();
        for _ in 0..20 {
            guards.push(lock.read().await.unwrap());
        }
        for guard in guards {
            guard.on_loss(count(&calls));
            waits.push(start(async move {
                guard.lost().await;
                drop(guard);
            }));
        }
        lab.end_sessions().await;
        for wait in waits {
            soon("the loss", wait).await.unwrap();
        }
    }
    lab.until("each listener was called", || calls.load(Ordering::SeqCst) == rounds * 20).await;
}
