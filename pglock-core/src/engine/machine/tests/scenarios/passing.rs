//! A lock passes from one caller of this process to the next.

use super::{KEY, SHARED, grant_of, holding, is_granted, key, world};
use crate::driver::Operation;
use crate::engine::machine::event::{Outcome, Patience};
use crate::key::LockKey;
use crate::mode::Mode::Write;

#[test]
fn an_uncontended_acquire_is_one_try() {
    let mut world = world();
    let waiter = world.acquire(key(), Write, Patience::Wait);
    world.settle();
    assert!(is_granted(&world, waiter));
    assert_eq!(world.sent, [(SHARED, Operation::TryLock(key(), Write))]);
}

#[test]
fn a_writer_hands_over_to_the_next_writer_without_a_request() {
    let (mut world, grant) = holding(Write);
    let next = world.acquire(key(), Write, Patience::Wait);
    world.release(key(), grant, false);
    assert!(is_granted(&world, next));
    assert_eq!(world.sent, []);
}

#[test]
fn a_release_of_a_passed_on_lock_is_confirmed_by_later_answers() {
    let (mut world, grant) = holding(Write);
    let other = world.acquire(LockKey::from(KEY + 1), Write, Patience::Wait);
    world.turn(SHARED, true);
    let next = world.acquire(key(), Write, Patience::Wait);
    let confirm = world.release(key(), grant, true).unwrap();
    assert!(is_granted(&world, next));
    world.turn(SHARED, true);
    world.turn(SHARED, true);
    assert!(is_granted(&world, other));
    assert!(!world.outcomes.contains_key(&confirm), "that was asked before the release");
    world.settle();
    assert_eq!(world.sent.last(), Some(&(SHARED, Operation::Ping)));
    assert!(matches!(world.outcomes[&confirm], Outcome::Released));
}

#[test]
fn a_release_of_a_lock_that_passes_on_fails_if_its_session_ended() {
    let (mut world, grant) = holding(Write);
    let next = world.acquire(key(), Write, Patience::Wait);
    world.kill(SHARED, false);
    let confirm = world.release(key(), grant, true).unwrap();
    assert!(is_granted(&world, next), "the loss is not known yet");
    world.settle();
    assert!(matches!(world.outcomes[&confirm], Outcome::Failed(_)));
}

#[test]
fn a_lock_whose_hand_overs_have_ended_goes_back_to_the_server() {
    let (mut world, grant) = holding(Write);
    let next = world.acquire(key(), Write, Patience::Wait);
    world.end_hand_overs(key(), grant);
    world.release(key(), grant, false);
    assert!(!is_granted(&world, next));
    world.settle();
    let there_and_back =
        [(SHARED, Operation::Unlock(key(), Write)), (SHARED, Operation::TryLock(key(), Write))];
    assert_eq!(world.sent, there_and_back);
    assert!(is_granted(&world, next));
}

#[test]
fn a_lock_goes_back_to_the_server_after_a_number_of_hand_overs() {
    let (mut world, mut grant) = holding(Write);
    let waiters: Vec<_> = (0..4).map(|_| world.acquire(key(), Write, Patience::Wait)).collect();
    for waiter in &waiters[..2] {
        world.release(key(), grant, false);
        grant = grant_of(&world, *waiter);
    }
    world.release(key(), grant, false);
    assert!(!is_granted(&world, waiters[2]));
    world.settle();
    let there_and_back =
        [(SHARED, Operation::Unlock(key(), Write)), (SHARED, Operation::TryLock(key(), Write))];
    assert_eq!(world.sent, there_and_back);
    assert!(is_granted(&world, waiters[2]));
}
