//! Waits that look like a deadlock, and are none. Each case shows that a deadlock beside them is
//! found, and only that.

use std::future::ready;
use std::ops::ControlFlow::Continue;

use futures_util::FutureExt;
use pglock_core::{Error, Mode, Result};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tracing::instrument::WithSubscriber;

use super::deadlocks::{Side, ends, is_dropped, pair};
use super::electing::{candidate, key};
use crate::conformance::{Lab, group, start};

group! { no_deadlocks:
    order_is_none: Engine,
    locks_held_for_long_by_others_are_none: Engine,
    waiting_set_is_none: Engine,
    sharing_readers_are_none: Engine,
    elections_of_one_task_are_none: Engine,
    wait_for_any_of_several_is_none: Engine,
}

/// Waits until both have found a deadlock over other keys, and checks that it is the only one.
pub(super) async fn find_no_other(lab: &Lab, sides: &[Side; 2]) {
    let begin = pair();
    let first = sides[0].takes(["x", "y"], false, &begin);
    let second = sides[1].takes(["y", "x"], false, &begin);
    for side in sides {
        side.until_warned(lab, &["x", "y"]).await;
        assert_eq!(side.warnings().len(), 1, "{:#?}", side.warnings());
        assert_eq!(side.manager.stats().deadlocks, 1);
    }
    is_dropped(first).await;
    ends(second).await.unwrap();
}

/// A task that waits for a key of the witness, while it holds others.
fn waits_for(side: &Side, held: Vec<(&'static str, Mode)>) -> JoinHandle<Result<()>> {
    let lock = |key: &'static str| side.manager.engine_lock(key.into());
    let locks: Vec<_> = held.into_iter().map(|(key, mode)| (lock(key), mode)).collect();
    let last = lock("last");
    let wait = async move {
        let (mut readers, mut writers) = (Vec::new(), Vec::new());
        for (lock, mode) in locks {
            match mode {
                Mode::Read => readers.push(lock.read().await?),
                Mode::Write => writers.push(lock.write().await?),
            }
        }
        last.write().await.map(drop)
    };
    start(wait.with_subscriber(side.log.clone()))
}

pub async fn order_is_none(lab: &Lab) {
    let (sides, witness) = ([Side::new(lab), Side::new(lab)], lab.witness());
    witness.hold("last".into(), Mode::Write).await.unwrap();
    let first = waits_for(&sides[0], vec![("b", Mode::Write)]);
    witness.until_waiting("last".into(), 1).await.unwrap();
    let second = waits_for(&sides[1], vec![("a", Mode::Write), ("b", Mode::Write)]);
    witness.until_waiting("b".into(), 1).await.unwrap();
    let third = waits_for(&sides[0], vec![("a", Mode::Write)]);
    witness.until_waiting("a".into(), 1).await.unwrap();
    find_no_other(lab, &sides).await;
    assert_eq!(sides[0].deadlock("b").await, None);
    witness.release("last".into(), Mode::Write).await.unwrap();
    for task in [first, second, third] {
        ends(task).await.unwrap();
    }
}

/// Each process leads one election, say, and stands in the other one.
pub async fn locks_held_for_long_by_others_are_none(lab: &Lab) {
    let (sides, witness) = ([Side::new(lab), Side::new(lab)], lab.witness());
    witness.hold("last".into(), Mode::Write).await.unwrap();
    let mut tasks = Vec::new();
    for (side, key) in sides.iter().zip(["a", "b"]) {
        tasks.push(waits_for(side, vec![(key, Mode::Write)]));
    }
    witness.until_waiting("last".into(), 2).await.unwrap();
    for (side, key) in sides.iter().zip(["b", "a"]) {
        let lock = side.manager.engine_lock(key.into());
        let wait = async move { lock.write().await.map(drop) };
        tasks.push(start(wait.with_subscriber(side.log.clone())));
        witness.until_waiting(key.into(), 1).await.unwrap();
    }
    find_no_other(lab, &sides).await;
    assert_eq!(sides[0].deadlock("a").await, None);
    witness.release("last".into(), Mode::Write).await.unwrap();
    for task in tasks {
        ends(task).await.unwrap();
    }
}

pub async fn waiting_set_is_none(lab: &Lab) {
    let (sides, witness) = ([Side::new(lab), Side::new(lab)], lab.witness());
    witness.hold(3.into(), Mode::Write).await.unwrap();
    let mut tasks = Vec::new();
    for (side, waiting) in sides.iter().zip([(3, 1), (1, 1)]) {
        let set = side.manager.set().write(1).write(2).write(3);
        let set = async move { set.acquire().await.map(drop) };
        tasks.push(start(set.with_subscriber(side.log.clone())));
        let (key, waiters) = waiting;
        witness.until_waiting(key.into(), waiters).await.unwrap();
    }
    find_no_other(lab, &sides).await;
    assert_eq!(sides[0].deadlock(1).await, None);
    witness.release(3.into(), Mode::Write).await.unwrap();
    for task in tasks {
        ends(task).await.unwrap();
    }
}

pub async fn sharing_readers_are_none(lab: &Lab) {
    let (sides, witness) = ([Side::new(lab), Side::new(lab)], lab.witness());
    witness.hold("last".into(), Mode::Write).await.unwrap();
    let held = || vec![("a", Mode::Read), ("b", Mode::Read)];
    let mut tasks: Vec<_> = sides.iter().map(|side| waits_for(side, held())).collect();
    tasks.push(waits_for(&sides[1], vec![("b", Mode::Read), ("a", Mode::Read)]));
    witness.until_waiting("last".into(), 2).await.unwrap();
    find_no_other(lab, &sides).await;
    assert_eq!(sides[0].deadlock("a").await, None);
    witness.release("last".into(), Mode::Write).await.unwrap();
    for task in tasks {
        ends(task).await.unwrap();
    }
}

/// A program may run several elections in one task. Each process leads one, and stands in the other.
pub async fn elections_of_one_task_are_none(lab: &Lab) {
    let sides = [Side::new(lab), Side::new(lab)];
    let (both_lead, (end, ended)) = (pair(), watch::channel(false));
    let mut tasks = Vec::new();
    for (side, names) in sides.iter().zip([["a", "b"], ["b", "a"]]) {
        let [first, second] = names.map(|name| candidate(&side.manager, name));
        let (mut stop, both_lead) = (ended.clone(), both_lead.clone());
        let (leads, is_leading) = oneshot::channel();
        let mut leads = Some(leads);
        let runs = async move {
            let mut stop_too = stop.clone();
            let one = first.run(stop.wait_for(|end| *end).map(drop), |term| {
                leads.take().map(|leads| leads.send(()));
                async move { term.stopping().map(|()| Ok::<_, Error>(Continue::<()>(()))).await }
            });
            let other = async {
                is_leading.await.unwrap();
                both_lead.wait().await;
                let stop = stop_too.wait_for(|end| *end).map(drop);
                second.run(stop, |_| ready(Ok::<_, Error>(Continue::<()>(())))).await
            };
            tokio::try_join!(one, other).map(drop)
        };
        tasks.push(start(runs.with_subscriber(side.log.clone())));
    }
    for name in ["a", "b"] {
        let key = key(&candidate(&sides[0].manager, name));
        lab.witness().until_waiting(key, 1).await.unwrap();
    }
    find_no_other(lab, &sides).await;
    end.send(true).unwrap();
    for task in tasks {
        ends(task).await.unwrap();
    }
}

/// Each holds one lock and waits for any of two, of which the witness has one.
pub async fn wait_for_any_of_several_is_none(lab: &Lab) {
    let (sides, witness) = ([Side::new(lab), Side::new(lab)], lab.witness());
    witness.hold("last".into(), Mode::Write).await.unwrap();
    let begin = pair();
    let mut tasks = Vec::new();
    for (side, keys) in sides.iter().zip([["a", "b"], ["b", "a"]]) {
        let (manager, begin) = (side.manager.clone(), begin.clone());
        let wait = async move {
            let held = manager.rwlock(keys[0].into()).write().await?;
            begin.wait().await;
            let any = manager.write_any(&[keys[1].into(), "last".into()]).await?;
            drop((held, any));
            Ok(())
        };
        tasks.push(start(wait.with_subscriber(side.log.clone())));
    }
    witness.until_waiting("last".into(), 2).await.unwrap();
    find_no_other(lab, &sides).await;
    witness.release("last".into(), Mode::Write).await.unwrap();
    for task in tasks {
        ends(task).await.unwrap();
    }
}
