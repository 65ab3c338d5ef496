//! Callers that wait for permits of a semaphore, and the order in which they get them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use pglock_core::ErrorKind;
use pglock_core::recipes::semaphore::Semaphore;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;

use super::permits::{key, semaphore, turnstile, until_first};
use super::runtimes::without_runtime;
use crate::conformance::latencies::Latencies;
use crate::conformance::{Lab, group, soon, start};

group! { turnstiles:
    processes_are_served_in_order,
    callers_of_a_process_are_served_in_order,
    processes_take_turns,
    process_waits_in_one_session,
    try_does_not_overtake_another_process,
    try_does_not_overtake_its_own_process,
    large_request_is_not_starved_by_small_ones,
    large_requests_do_not_wait_for_each_other,
    semaphores_made_separately_share_the_permits,
    waiter_works_without_a_runtime,
}

/// Reports its name when it has a permit, and releases the permit on command.
struct Waiter {
    name: &'static str,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Log {
    served: mpsc::UnboundedSender<&'static str>,
}

impl Log {
    fn new() -> (Self, mpsc::UnboundedReceiver<&'static str>) {
        let (served, log) = mpsc::unbounded_channel();
        (Self { served }, log)
    }

    fn wait(&self, name: &'static str, semaphore: &Semaphore, count: u32) -> Waiter {
        let (semaphore, served) = (semaphore.clone(), self.served.clone());
        let wait = async move {
            let permit = semaphore.acquire_many(count).await.unwrap();
            served.send(name).unwrap();
            permit.release().await.unwrap();
        };
        Waiter { name, task: start_in_line(wait) }
    }
}

/// Starts the wait here, so that it is in its process's line before this returns.
fn start_in_line<T: Send + 'static>(
    wait: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    let mut wait = Box::pin(wait);
    let begun = wait.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(begun.is_pending());
    start(wait)
}

/// The callers that were served, in order.
async fn served(waiters: Vec<Waiter>, mut log: mpsc::UnboundedReceiver<&str>) -> Vec<&str> {
    let mut names = Vec::new();
    for waiter in waiters {
        soon(waiter.name, waiter.task).await.unwrap();
        names.push(log.recv().await.unwrap());
    }
    names
}

pub async fn processes_are_served_in_order(lab: &Lab) {
    for permits in [1, 3] {
        let holder = semaphore(&lab.manager(), permits);
        let all = holder.acquire_many(permits).await.unwrap();
        let (log, order) = Log::new();
        let mut waiters = Vec::new();
        for (place, name) in ["first", "second", "third", "fourth"].into_iter().enumerate() {
            let process = semaphore(&lab.manager(), permits);
            // All permits, so that one caller is served after another.
            waiters.push(log.wait(name, &process, permits));
            until_first(lab).await;
            lab.witness().until_waiting(turnstile(), place).await.unwrap();
        }
        all.release().await.unwrap();
        assert_eq!(served(waiters, order).await, ["first", "second", "third", "fourth"]);
    }
}

/// Callers behind the first one could overtake it, but not each other.
pub async fn callers_of_a_process_are_served_in_order(lab: &Lab) {
    let holder = semaphore(&lab.manager(), 3);
    let one = holder.acquire().await.unwrap();
    let process = semaphore(&lab.manager(), 3);
    let (log, order) = Log::new();
    let mut waiters = Vec::new();
    for (name, count) in [("first", 3), ("second", 2), ("third", 2), ("fourth", 2)] {
        waiters.push(log.wait(name, &process, count));
    }
    until_first(lab).await;
    one.release().await.unwrap();
    assert_eq!(served(waiters, order).await, ["first", "second", "third", "fourth"]);
}

/// A process has one place in the line of processes.
pub async fn processes_take_turns(lab: &Lab) {
    let holder = semaphore(&lab.manager(), 1);
    let permit = holder.acquire().await.unwrap();
    let (many, one) = (semaphore(&lab.manager(), 1), semaphore(&lab.manager(), 1));
    let (log, order) = Log::new();
    let mut waiters: Vec<_> = (0..3).map(|_| log.wait("many", &many, 1)).collect();
    until_first(lab).await;
    waiters.push(log.wait("one", &one, 1));
    lab.witness().until_waiting(turnstile(), 1).await.unwrap();
    permit.release().await.unwrap();
    assert_eq!(served(waiters, order).await, ["many", "one", "many", "many"]);
}

pub async fn process_waits_in_one_session(lab: &Lab) {
    let holder = semaphore(&lab.manager(), 8);
    let all = holder.acquire_many(8).await.unwrap();
    let managers = [lab.manager(), lab.manager()];
    let mut waits = Vec::new();
    for manager in &managers {
        let process = semaphore(manager, 8);
        waits.extend((0..100).map(|_| {
            let process = process.clone();
            start(async move { process.acquire().await.unwrap().release().await.unwrap() })
        }));
        until_first(lab).await;
    }
    let waiters = lab.witness().until_waiting(turnstile(), 1).await.unwrap();
    assert_eq!(waiters.len(), 1);
    // The first in line needs no other session for what it does meanwhile.
    sleep(Duration::from_millis(200)).await;
    for manager in &managers {
        assert!(manager.stats().sessions <= 2, "{:?}", manager.stats());
    }
    assert!(waits.iter().all(|wait| !wait.is_finished()));
    all.release().await.unwrap();
    for wait in waits {
        soon("a permit", wait).await.unwrap();
    }
}

pub async fn try_does_not_overtake_another_process(lab: &Lab) {
    let [holder, waiter, other] = [(); 3].map(|()| semaphore(&lab.manager(), 3));
    let one = holder.acquire().await.unwrap();
    let wait = start(async move { waiter.acquire_many(3).await });
    until_first(lab).await;
    for process in [&holder, &other] {
        for count in 1..=2 {
            assert!(process.try_acquire_many(count).await.unwrap().is_none());
        }
    }
    one.release().await.unwrap();
    soon("all are free", wait).await.unwrap().unwrap().release().await.unwrap();
    other.try_acquire().await.unwrap().expect("no caller waits").release().await.unwrap();
}

pub async fn try_does_not_overtake_its_own_process(lab: &Lab) {
    let [holder, process] = [(); 2].map(|()| semaphore(&lab.manager(), 2));
    let one = holder.acquire().await.unwrap();
    let waiter = process.clone();
    let wait = start(async move { waiter.acquire_many(2).await });
    until_first(lab).await;
    assert!(process.try_acquire().await.unwrap().is_none());
    one.release().await.unwrap();
    let both = soon("both are free", wait).await.unwrap().unwrap();
    assert!(process.try_acquire().await.unwrap().is_none());
    both.release().await.unwrap();
    process.try_acquire().await.unwrap().expect("both are free").release().await.unwrap();
}

pub async fn large_request_is_not_starved_by_small_ones(lab: &Lab) {
    let over = Arc::<AtomicBool>::default();
    let mut small = Vec::new();
    for _ in 0..2 {
        let process = semaphore(&lab.manager(), 4);
        // More small requests than permits.
        for turn in 0..6 {
            let (process, over) = (process.clone(), over.clone());
            small.push(start(async move {
                while !over.load(Ordering::Relaxed) {
                    let permit = match turn % 3 {
                        0 => process.try_acquire().await.unwrap(),
                        _ => Some(process.acquire().await.unwrap()),
                    };
                    sleep(Duration::from_millis(2)).await;
                    drop(permit);
                }
            }));
        }
    }
    let process = semaphore(&lab.manager(), 4);
    let mut waits = Latencies::default();
    for _ in 0..20 {
        let begin = Instant::now();
        let all = soon("all permits", process.acquire_many(4)).await.unwrap();
        waits.push(begin.elapsed());
        all.release().await.unwrap();
    }
    over.store(true, Ordering::Relaxed);
    for task in small {
        soon("a small request", task).await.unwrap();
    }
    waits.assert_below("all of four permits among twelve who want one", Duration::from_secs(2));
}

/// If both collected permits at the same time, each would wait for what the other one has.
pub async fn large_requests_do_not_wait_for_each_other(lab: &Lab) {
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let process = semaphore(&lab.manager(), 3);
        for count in [2, 3] {
            let process = process.clone();
            tasks.push(start(async move {
                for _ in 0..20 {
                    process.acquire_many(count).await.unwrap().release().await.unwrap();
                }
            }));
        }
    }
    for task in tasks {
        soon("every caller gets its permits", task).await.unwrap();
    }
}

pub async fn semaphores_made_separately_share_the_permits(lab: &Lab) {
    let manager = lab.manager();
    let [one, other] = [(); 2].map(|()| semaphore(&manager, 1));
    let permit = one.acquire().await.unwrap();
    assert!(other.try_acquire().await.unwrap().is_none());
    let wait = start(async move { other.acquire().await });
    until_first(lab).await;
    assert!(one.try_acquire().await.unwrap().is_none());
    assert_eq!(lab.witness().holders(key(0)).await.unwrap().len(), 1);
    permit.release().await.unwrap();
    soon("it is free", wait).await.unwrap().unwrap().release().await.unwrap();
}

/// To wait, a semaphore needs no timers except those of the locks.
pub async fn waiter_works_without_a_runtime(lab: &Lab) {
    let [one, other] = [(); 2].map(|()| semaphore(&lab.manager(), 1));
    let permit = one.acquire().await.unwrap();
    let (timed_out, waits) = oneshot::channel();
    let wait = thread::spawn(move || {
        without_runtime(async move {
            assert_eq!(other.available().await.unwrap(), 0);
            let error = other.try_acquire_for(Duration::from_millis(600)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout);
            timed_out.send(()).unwrap();
            other.acquire().await.unwrap().release().await.unwrap();
        });
    });
    soon("the time is over", waits).await.unwrap();
    until_first(lab).await;
    permit.release().await.unwrap();
    soon("it is free", spawn_blocking(move || wait.join().unwrap())).await.unwrap();
}
