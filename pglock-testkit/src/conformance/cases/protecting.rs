//! Work under a lock, and what happens to it when the lock is lost.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pglock_core::ErrorKind;
use tokio::sync::oneshot;

use crate::conformance::{Lab, group, soon, start};

group! { protecting:
    protected_work_gives_its_result,
    protected_work_is_stopped_when_the_lock_is_lost: Sessions,
    listeners_are_called_once_for_a_loss: Sessions,
    listeners_are_not_called_for_a_release,
}

pub async fn protected_work_gives_its_result(lab: &Lab) {
    let guard = lab.lock("key").write().await.unwrap();
    let done = guard.protect(async {
        tokio::task::yield_now().await;
        7
    });
    assert_eq!(done.await.unwrap(), 7);
    guard.release().await.unwrap();
}

pub async fn protected_work_is_stopped_when_the_lock_is_lost(lab: &Lab) {
    let lock = lab.lock("key");
    let (begin, begun) = oneshot::channel();
    let (alive, mut dropped) = oneshot::channel::<()>();
    let work = start(async move {
        let guard = lock.write().await.unwrap();
        let stopped = guard.protect(async move {
            let _alive = alive;
            begin.send(()).unwrap();
            pending::<()>().await;
        });
        stopped.await.unwrap_err()
    });
    soon("the work begins", begun).await.unwrap();
    assert!(dropped.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
    lab.end_sessions().await;
    let error = soon("the work is stopped", work).await.unwrap();
    assert_eq!(error.kind(), ErrorKind::Lost);
    assert!(dropped.await.is_err(), "the work was dropped");
}

pub async fn listeners_are_called_once_for_a_loss(lab: &Lab) {
    let manager = lab.manager();
    let guards = [manager.lock("a"), manager.lock("b")];
    let guards = [guards[0].write().await.unwrap(), guards[1].write().await.unwrap()];
    let calls = Arc::new(AtomicUsize::new(0));
    let count = || {
        let calls = calls.clone();
        move || {
            calls.fetch_add(1, Ordering::SeqCst);
        }
    };
    guards[0].on_loss(count());
    guards[0].on_loss(count());
    guards[1].on_loss(count());
    lab.end_sessions().await;
    soon("the loss is reported", guards[0].lost()).await;
    soon("the loss is reported", guards[1].lost()).await;
    lab.until("all listeners are called", || calls.load(Ordering::SeqCst) == 3).await;
    // A listener added afterwards is called at once.
    guards[1].on_loss(count());
    assert_eq!(calls.load(Ordering::SeqCst), 4);
    drop(guards);
    assert_eq!(calls.load(Ordering::SeqCst), 4);
}

pub async fn listeners_are_not_called_for_a_release(lab: &Lab) {
    let manager = lab.manager();
    let lock = manager.lock("key");
    let calls = Arc::new(AtomicUsize::new(0));
    for turn in 0..2 {
        let guard = lock.write().await.unwrap();
        let calls = calls.clone();
        guard.on_loss(move || {
            calls.fetch_add(1, Ordering::SeqCst);
        });
        match turn {
            0 => guard.release().await.unwrap(),
            _ => drop(guard),
        }
    }
    // The session that held the lock ends, but no guard is left.
    soon("close", manager.close()).await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}
