//! Late cancels.

use super::{ELSEWHERE, SHARED, WAITING, grant_of, key, run, waiting};
use crate::driver::Operation;
use crate::engine::machine::config::Config;
use crate::engine::machine::event::{Outcome, Patience};
use crate::engine::machine::tests::model::link::Stage;
use crate::key::LockKey;
use crate::mode::Mode::Write;

#[test]
fn everything_is_released_only_after_the_cancel_is_answered() {
    let (mut world, waiter) = waiting(Write);
    world.abandon(waiter, key());
    world.turn(SHARED, true);
    world.turn(SHARED, true);
    // The cancel has ended the wait, but its own answer is still on its way.
    world.turn(WAITING, true);
    assert_eq!(world.links[&WAITING].stage, Stage::Idle);
    world.turn(SHARED, true);
    world.turn(WAITING, true);
    assert_eq!(world.sent.last(), Some(&(WAITING, Operation::UnlockAll)));
}

#[test]
fn a_session_that_a_late_cancel_may_hit_makes_room_for_another_one() {
    let (mut world, waiter) = waiting(Write);
    world.abandon(waiter, key());
    world.turn(SHARED, true);
    world.turn(SHARED, true);
    run(&mut world, WAITING);
    // The cancel was carried out, but that is never reported.
    world.cut(SHARED);
    world.settle();
    assert!(!world.links.contains_key(&WAITING));
}

#[test]
fn a_release_is_confirmed_although_a_late_cancel_may_arrive() {
    let (mut world, waiter) = waiting(Write);
    world.abandon(waiter, key());
    let next = world.acquire(key(), Write, Patience::Wait);
    world.turn(SHARED, true);
    world.server.unlock(ELSEWHERE, key(), Write);
    world.turn(WAITING, false);
    world.cut(SHARED);
    world.turn(SHARED, false);
    let grant = grant_of(&world, next);
    let confirm = world.release(key(), grant, true).expect("it was asked for");
    world.settle();
    assert!(matches!(world.outcomes[&confirm], Outcome::Released));
}

#[test]
fn a_cancel_is_not_forgotten_when_the_session_that_carries_it_is_dropped() {
    let (mut world, waiter) = waiting(Write);
    world.abandon(waiter, key());
    world.turn(SHARED, true);
    world.refuse(SHARED, 1, false);
    world.turn(SHARED, true);
    world.refuse(SHARED, 0, false);
    world.settle();
    assert!(world.machine.keys.is_empty());
    assert!(!world.links.contains_key(&WAITING));
}

#[test]
fn a_session_that_has_gone_is_not_cancelled() {
    let (mut world, waiter) = waiting(Write);
    // The shared session is busy while the cancel waits in line.
    world.acquire(LockKey::from(8), Write, Patience::Wait);
    world.turn(SHARED, true);
    world.abandon(waiter, key());
    world.kill(WAITING, false);
    world.turn(WAITING, false);
    world.sent.clear();
    world.settle();
    assert_eq!(world.sent, []);
}

#[test]
fn a_wait_given_up_before_its_session_has_answered_a_heartbeat_is_not_begun() {
    let (mut world, waiter) = waiting(Write);
    world.abandon(waiter, key());
    world.settle();
    world.advance(Config::default().lease.heartbeat);
    run(&mut world, SHARED);
    let waiter = world.acquire(key(), Write, Patience::Wait);
    run(&mut world, SHARED);
    world.turn(WAITING, true);
    assert_eq!(world.links[&WAITING].stage, Stage::SentHoldings);
    world.sent.clear();
    world.abandon(waiter, key());
    let hasty = world.acquire(key(), Write, Patience::Try);
    world.settle();
    assert!(matches!(world.outcomes[&hasty], Outcome::Busy));
    assert!(!world.sent.contains(&(WAITING, Operation::Lock(key(), Write))));
    // Its session is free for another wait.
    let waiter = world.acquire(key(), Write, Patience::Wait);
    world.settle();
    world.server.unlock(ELSEWHERE, key(), Write);
    world.settle();
    grant_of(&world, waiter);
}
