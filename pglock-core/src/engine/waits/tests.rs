//! Tests of what counts as a dependence.

use std::collections::BTreeSet;

use super::graph::Ends;
use super::*;

fn owner(bond: Option<Bond>) -> Owner {
    Owner { bond, ..Owner::of_task(Task::from_number(7)) }
}

fn stranger(bond: Option<Bond>) -> Owner {
    Owner { task: None, run: None, bond }
}

fn ends(waits: &Waits) -> Vec<Ends> {
    waits.dependences().all.into_keys().collect()
}

fn keys(held: i64, awaited: i64) -> Ends {
    (held.into(), awaited.into())
}

/// A wait on record, and whether it starts the watch.
fn wait(waits: &Waits, key: i64, owner: Owner) -> (usize, bool) {
    waits.wait(key.into(), owner, || None).unwrap()
}

#[test]
fn only_a_long_wait_of_the_holder_counts() {
    let waits = Waits::default();
    let me = owner(None);
    waits.hold(1.into(), me);
    let other = stranger(Some(Bond::Set(1)));
    waits.hold(9.into(), other);
    assert!(wait(&waits, 2, me).1, "the watch begins");
    assert!(!wait(&waits, 3, other).1);
    assert!(waits.tick().is_some_and(|found| found.all.is_empty()));
    let found = waits.tick().unwrap();
    assert_eq!(found.all.keys().copied().collect::<Vec<_>>(), [keys(1, 2), keys(9, 3)]);
    assert!(!found.all[&keys(1, 2)].is_certain);
    assert_eq!(found.awaited, BTreeSet::from([2.into(), 3.into()]));
}

#[test]
fn who_holds_nothing_is_not_on_record() {
    let waits = Waits::default();
    let none = |waits: &Waits| waits.wait(2.into(), owner(None), || panic!("not needed")).is_none();
    assert!(none(&waits));
    assert_eq!(waits.hold(1.into(), stranger(None)), None);
    waits.hold(1.into(), stranger(Some(Bond::Set(1))));
    assert!(none(&waits));
    let [first, second] = [1, 2].map(|key| waits.hold(key.into(), owner(None)).unwrap());
    waits.let_go(first);
    let (place, starts) = wait(&waits, 3, owner(None));
    assert!(starts);
    waits.leave(place);
    waits.let_go(second);
    assert!(none(&waits));
    assert_eq!(waits.tick(), None);
}

#[test]
fn wait_for_what_the_caller_holds_does_not_count() {
    let waits = Waits::default();
    waits.hold(1.into(), owner(None));
    wait(&waits, 1, owner(None));
    (0..3).for_each(|_| drop(waits.tick()));
    assert_eq!(ends(&waits), []);
}

#[test]
fn runs_of_one_task_do_not_depend_on_each_other() {
    let waits = Waits::default();
    let [one, other] = [1, 2].map(|run| Owner { run: Some(run), ..owner(None) });
    waits.hold(1.into(), one);
    waits.hold(2.into(), owner(None));
    wait(&waits, 3, one);
    wait(&waits, 4, other);
    (0..2).for_each(|_| drop(waits.tick()));
    assert_eq!(ends(&waits), [keys(1, 3), keys(2, 3), keys(2, 4)]);
}

#[test]
fn sets_and_sessions_are_certain() {
    let waits = Waits::default();
    for (key, bond) in [(1, Bond::Set(1)), (3, Bond::Session(7))] {
        waits.hold(key.into(), stranger(Some(bond)));
        wait(&waits, key + 1, owner(Some(bond)));
    }
    // Of the task, but not of the set.
    waits.hold(0.into(), owner(None));
    (0..2).for_each(|_| drop(waits.tick()));
    let found = waits.dependences().all;
    let certain = |ends: Ends| found.get(&ends).map(|found| found.is_certain);
    assert_eq!(certain(keys(1, 2)), Some(true));
    assert_eq!(certain(keys(3, 4)), Some(true));
    assert_eq!(certain(keys(0, 2)), Some(false));
    assert_eq!(certain(keys(1, 4)), None);
}

#[tokio::test]
async fn end_of_a_dependence_is_reported() {
    let waits = Waits::default();
    let hold = waits.hold(1.into(), owner(None)).unwrap();
    let (place, _) = wait(&waits, 2, owner(None));
    (0..2).for_each(|_| drop(waits.tick()));
    waits.let_go(hold);
    waits.changed().await;
    assert_eq!(ends(&waits), []);
    waits.leave(place);
    waits.changed().await;
}

#[test]
fn only_waits_that_give_up_fail() {
    let waits = Waits::default();
    waits.hold(1.into(), owner(None));
    let (stays, _) = wait(&waits, 2, owner(None));
    let waker = || Some(Waker::noop().clone());
    let (fails, _) = waits.wait(3.into(), owner(None), waker).unwrap();
    (0..2).for_each(|_| drop(waits.tick()));
    let found = waits.dependences().all;
    assert!(found[&keys(1, 3)].gives_up && !found[&keys(1, 2)].gives_up);
    let deadlock = Arc::new(Deadlock { is_certain: false, waits: Vec::new() });
    assert_eq!(waits.fail(&[1, 2], &deadlock).len(), 1);
    let verdict = |place| waits.verdict(place, Waker::noop().clone()).0;
    assert_eq!((verdict(stays), verdict(fails)), (None, Some(deadlock)));
}
