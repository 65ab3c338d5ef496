//! Deadlocks over three keys and two processes, and rings of waits that end by themselves.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pglock_core::{Mode, Result};
use tokio::sync::{Barrier, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;
use tracing::instrument::WithSubscriber;

use super::deadlocks::{Side, ends, is_dropped, pair};
use super::no_deadlocks::find_no_other;
use crate::conformance::{Lab, group, soon, start};
use crate::faults::TestProcess;

group! { rings:
    ring_of_three_over_two_processes_is_reported: Process,
    ring_that_ends_between_two_looks_is_none: Engine,
}

/// Two tasks of this process, and one of another.
pub async fn ring_of_three_over_two_processes_is_reported(lab: &Lab) {
    if lab.is_child() {
        return close_the_ring(lab).await;
    }
    let mut other = lab.start_role("other", &lab.address());
    assert_eq!(other.line().await.unwrap(), "holds c");
    let (side, begin) = (Side::new(lab), pair());
    let last = side.takes(["a", "b"], false, &begin);
    let next = side.takes(["b", "c"], false, &begin);
    lab.witness().until_waiting("c".into(), 1).await.unwrap();
    other.write("go").unwrap();

    let warning = side.until_warned(lab, &["a", "b", "c"]).await;
    assert!([r#""a""#, r#""b""#, r#""c""#].iter().all(|name| warning.contains(name)), "{warning}");
    let deadlock = side.deadlock("a").await.unwrap();
    assert_eq!(deadlock.waits.len(), 3);
    for (held, awaited) in [("a", "b"), ("b", "c"), ("c", "a")] {
        let wait = deadlock.waits.iter().find(|wait| wait.held == held.into()).unwrap();
        let names = (wait.held_name.as_deref(), wait.awaited_name.as_deref());
        assert_eq!((names, wait.is_ours), ((Some(held), Some(awaited)), held != "c"));
        let holders = lab.witness().holders(held.into()).await.unwrap();
        assert_eq!(holders.iter().map(|row| row.pid).collect::<Vec<_>>(), [wait.pid]);
    }
    // The other process knows the names of its own keys.
    let warning = other.line().await.unwrap();
    assert!(warning.contains(r#""c""#) && warning.contains(r#""a""#), "{warning}");
    assert_eq!((side.warnings().len(), side.manager.stats().deadlocks), (1, 1));
    is_dropped(next).await;
    ends(last).await.unwrap();
    assert_eq!(other.line().await.unwrap(), "done");
}

/// For the child.
async fn close_the_ring(lab: &Lab) {
    let (side, begin) = (Side::new(lab), pair());
    let task = side.takes(["c", "a"], false, &begin);
    lab.until("it holds a key", || side.manager.stats().held == 1).await;
    TestProcess::print("holds c");
    spawn_blocking(|| io::stdin().lines().next()).await.unwrap().unwrap().unwrap();
    begin.wait().await;
    TestProcess::print(&side.until_warned(lab, &["a", "b", "c"]).await);
    ends(task).await.unwrap();
    TestProcess::print("done");
}

/// No two looks of a process are closer.
const LOOKS_APART: Duration = Duration::from_millis(700);

/// In one process, and over two. Both waits would fail if they were part of a deadlock.
pub async fn ring_that_ends_between_two_looks_is_none(lab: &Lab) {
    for over in [0, 1] {
        let mut sides = [Side::new(lab), Side::new(lab)];
        while !ends_between_two_looks(lab, [&sides[0], &sides[over]]).await {
            sides = [Side::new(lab), Side::new(lab)];
        }
        assert_eq!(sides[0].deadlock("a").await, None);
        find_no_other(lab, &sides).await;
    }
}

/// Whether the ring has ended in time. If it has not, a busy machine let another look see it.
async fn ends_between_two_looks(lab: &Lab, sides: [&Side; 2]) -> bool {
    let (began, begin, (stop, stopped)) = (Instant::now(), pair(), oneshot::channel());
    let leaves = leaves(sides[0], ["a", "b"], &begin, stopped);
    let stays = sides[1].takes(["b", "a"], true, &begin);
    let unseen = until_seen(lab, began).await;
    // On a busy machine, it may have failed by now.
    let _ = stop.send(());
    let left = ends(leaves).await;
    let is_in_time = unseen.elapsed() < LOOKS_APART;
    let stayed = ends(stays).await;
    assert!(!is_in_time || left.is_ok() && stayed.is_ok(), "{left:?}, {stayed:?}");
    is_in_time
}

/// A task that takes one key, and waits for the next one until it is asked to leave.
fn leaves(
    side: &Side,
    keys: [&'static str; 2],
    begin: &Arc<Barrier>,
    stopped: oneshot::Receiver<()>,
) -> JoinHandle<Result<()>> {
    let [first, second] = keys.map(|key| side.manager.engine_lock(key.into()).fail_on_deadlock());
    let begin = begin.clone();
    let take = async move {
        let held = first.write().await?;
        begin.wait().await;
        tokio::select! {
            second = second.write() => drop(second?),
            _ = stopped => {}
        }
        held.release().await
    };
    start(take.with_subscriber(side.log.clone()))
}

/// Waits until looks have seen both waits: for each, its process takes a read lock. Returns the last
/// time at which one of them was certainly unseen.
async fn until_seen(lab: &Lab, mut unseen: Instant) -> Instant {
    let seen = async {
        loop {
            let begin = Instant::now();
            let locks = lab.witness().locks().await.unwrap();
            if locks.iter().filter(|row| row.mode == Mode::Read).count() == 2 {
                return unseen;
            }
            unseen = begin;
            sleep(Duration::from_millis(5)).await;
        }
    };
    soon("looks see the ring", seen).await
}
