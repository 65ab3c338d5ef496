//! Sessions and machines that end.

use std::time::Duration;

use super::{ELSEWHERE, SHARED, WAITING, holding, is_granted, key, run, waiting, world};
use crate::engine::machine::event::{Outcome, Patience};
use crate::key::LockKey;
use crate::mode::Mode::{Read, Write};

#[test]
fn the_end_of_a_session_loses_guards_and_asks_again_for_waiters() {
    let (mut world, grant) = holding(Write);
    let next = world.acquire(key(), Write, Patience::Wait);
    world.kill(SHARED, false);
    world.settle();
    assert!(world.reference.guards()[0].1.lost);
    assert!(is_granted(&world, next));
    let confirm = world.release(key(), grant, true).expect("it was asked for");
    assert!(matches!(world.outcomes[&confirm], Outcome::Failed(_)));
}

#[test]
fn a_lock_without_a_guard_is_not_lost() {
    let (mut world, grant) = holding(Write);
    // The release is on its way.
    world.release(key(), grant, false);
    world.turn(SHARED, true);
    world.kill(SHARED, false);
    world.settle();
    assert_eq!(world.losses.len(), 1, "the session has ended");
    assert_eq!(world.machine.stats(world.now).losses, 0);
}

#[test]
fn a_promotion_loses_older_guards_and_asks_again_for_waiters() {
    let (mut world, _) = holding(Write);
    world.server.try_lock(ELSEWHERE, 8.into(), Write);
    let waiter = world.acquire(8.into(), Write, Patience::Wait);
    run(&mut world, SHARED);
    // On its way to the old server when the manager notices the new one.
    let asked = world.acquire(9.into(), Write, Patience::Wait);
    world.turn(SHARED, true);
    world.timeline = 1;
    world.faulty = true;
    world.turn(WAITING, true);
    assert!(world.reference.guards()[0].1.lost);
    world.server.unlock(ELSEWHERE, 8.into(), Write);
    world.settle();
    assert!(is_granted(&world, asked) && is_granted(&world, waiter));
}

#[test]
fn closing_resolves_every_caller() {
    let (mut world, _) = waiting(Write);
    world.acquire(LockKey::from(8), Read, Patience::Wait);
    world.settle();
    world.close();
    assert_eq!(world.reference.unresolved(), []);
    assert!(world.reference.guards().iter().all(|(_, guard)| guard.lost));
    world.settle();
    assert!(world.machine.is_finished());
    assert_eq!(world.opened(), 2, "nothing is connected only to be closed");
}

#[test]
fn closing_keeps_a_session_to_cancel_waits_with() {
    let (mut world, waiter) = waiting(Write);
    world.abandon(waiter, key());
    world.settle();
    world.acquire(key(), Write, Patience::Wait);
    run(&mut world, SHARED);
    world.turn(WAITING, false);
    world.close();
    // The cancel comes before the wait has begun.
    for _ in 0..3 {
        world.turn(SHARED, false);
    }
    world.settle();
    world.advance(Duration::from_millis(20));
    world.settle();
    assert!(world.machine.is_finished());
    assert_eq!(world.opened(), 2);
}

#[test]
fn closing_gives_up_waits_even_if_no_session_can_cancel_them() {
    let (mut world, waiter) = waiting(Write);
    world.kill(SHARED, false);
    world.settle();
    world.advance(Duration::from_secs(1));
    world.abandon(waiter, key());
    world.open_fails(false);
    world.server.unlock(ELSEWHERE, key(), Write);
    world.turn(WAITING, false);
    world.close();
    world.drain();
}

#[test]
fn closing_ends_with_an_attempt_to_connect_that_fails() {
    let mut world = world();
    world.server.try_lock(ELSEWHERE, key(), Write);
    world.acquire(key(), Write, Patience::Wait);
    run(&mut world, SHARED);
    assert_eq!(world.connecting(), Some(WAITING));
    world.close();
    run(&mut world, SHARED);
    world.open_fails(false);
    world.settle();
    assert!(world.machine.is_finished());
}
