//! Processes that end in any way while they hold a lock or wait for one.

use std::io;
use std::process;
use std::time::{Duration, Instant};

use pglock_core::Mode;
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::task::spawn_blocking;

use super::SLACK;
use crate::conformance::latencies::Latencies;
use crate::conformance::{Lab, group, is_long, soon, start};
use crate::faults::{TestProcess, kill, terminate};

group! { deaths:
    lock_of_a_killed_process_goes_to_the_next: Process,
    lock_of_a_process_that_is_asked_to_end_goes_to_the_next: Process,
    lock_of_a_process_that_exits_goes_to_the_next: Process,
    lock_of_a_process_that_aborts_goes_to_the_next: Process,
    readers_pass_a_writer_whose_process_was_killed: Process,
}

const TRIES: usize = 20;
/// How long until the lock of a process that has ended goes to another process.
const FREED: Duration = Duration::from_millis(100);
/// How long until the place in the queue of a process that has ended is free.
const LEFT: Duration = Duration::from_millis(2500);

pub async fn lock_of_a_killed_process_goes_to_the_next(lab: &Lab) {
    assert_freed(lab, "kill -9", |process| kill(process.pid()).unwrap()).await;
}

pub async fn lock_of_a_process_that_is_asked_to_end_goes_to_the_next(lab: &Lab) {
    assert_freed(lab, "SIGTERM", |process| terminate(process.pid()).unwrap()).await;
}

pub async fn lock_of_a_process_that_exits_goes_to_the_next(lab: &Lab) {
    assert_freed(lab, "exit", |process| process.write("exit").unwrap()).await;
}

/// As a process does that panics and was built with `panic = "abort"`.
pub async fn lock_of_a_process_that_aborts_goes_to_the_next(lab: &Lab) {
    assert_freed(lab, "abort", |process| process.write("abort").unwrap()).await;
}

async fn assert_freed(lab: &Lab, what: &str, end: impl Fn(&mut TestProcess)) {
    if lab.is_child() {
        return hold(lab).await;
    }
    let mut freed = Latencies::default();
    for _ in 0..TRIES {
        let mut process = lab.start_role("holder", &lab.address());
        process.line().await.unwrap();
        let lock = lab.lock("key");
        let wait = start(async move { lock.write().await });
        lab.witness().until_waiting("key".into(), 1).await.unwrap();
        let begin = Instant::now();
        end(&mut process);
        let guard = soon("the lock is free", wait).await.unwrap().unwrap();
        freed.push(begin.elapsed());
        guard.release().await.unwrap();
    }
    let what = format!("lock granted to the next after {what}");
    // Not all of them, since the machine may delay some.
    freed.assert_percentile_below(&what, 90, FREED + SLACK);
}

/// Holds the lock until the process is killed, or ends itself on command.
async fn hold(lab: &Lab) {
    // Its core dump is of no use.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).unwrap();
    let _guard = lab.lock("key").write().await.unwrap();
    TestProcess::print("held");
    let order = spawn_blocking(|| io::stdin().lines().next()).await.unwrap();
    match order.transpose().unwrap().as_deref() {
        Some("exit") => process::exit(0),
        Some("abort") => process::abort(),
        _ => {}
    }
}

pub async fn readers_pass_a_writer_whose_process_was_killed(lab: &Lab) {
    if lab.is_child() {
        drop(lab.lock("key").write().await);
        return;
    }
    if !lab.has_lease().await {
        return lab.not_run("the server looks for dead waiters from version 14 on");
    }
    let reader = lab.lock("key").read().await.unwrap();
    let mut left = Latencies::default();
    for _ in 0..if is_long() { TRIES } else { 5 } {
        let process = lab.start_role("waiter", &lab.address());
        lab.witness().until_waiting("key".into(), 1).await.unwrap();
        let lock = lab.lock("key");
        let wait = start(async move { lock.read().await });
        lab.witness().until_waiting("key".into(), 2).await.unwrap();
        let begin = Instant::now();
        kill(process.pid()).unwrap();
        let fellow = soon("the way is free", wait).await.unwrap().unwrap();
        left.push(begin.elapsed());
        assert!(lab.witness().waiters("key".into()).await.unwrap().is_empty());
        let holders = lab.witness().holders("key".into()).await.unwrap();
        assert!(holders.len() == 2 && holders.iter().all(|row| row.mode == Mode::Read));
        fellow.release().await.unwrap();
    }
    left.assert_below("reader let in after the writer before it was killed", LEFT);
    assert!(reader.is_held());
    reader.release().await.unwrap();
}
