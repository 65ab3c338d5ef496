//! Refused operations, refused cancels, and operators that cancel.

use std::time::Duration;

use super::{
    ELSEWHERE, SHARED, WAITING, grant_of, holding, is_granted, key, pass, waiting, waiting_in,
    world, world_with,
};
use crate::driver::{Operation, Reason};
use crate::engine::machine::config::Config;
use crate::engine::machine::event::{CallerId, Outcome, Patience};
use crate::engine::machine::tests::model::world::World;
use crate::key::LockKey;
use crate::mode::Mode::{Read, Write};

/// The position of the caller whose operation is refused.
const BAD: i64 = 20;

/// This many callers share one statement.
fn one_refused_among(callers: i64, reason: Reason) -> (World, Vec<CallerId>) {
    let mut world = world();
    world.refuse_key(Some(LockKey::from(BAD)), reason);
    let keys = (0..callers).map(LockKey::from);
    let waiters = keys.map(|key| world.acquire(key, Write, Patience::Wait)).collect();
    world.settle();
    (world, waiters)
}

#[test]
fn a_refused_operation_fails_only_its_caller() {
    for reason in [Reason::Itself, Reason::Unknown] {
        let (world, waiters) = one_refused_among(64, reason);
        for (place, waiter) in (0..).zip(waiters) {
            match place {
                BAD => assert!(matches!(world.outcomes[&waiter], Outcome::Failed(_))),
                _ => assert!(is_granted(&world, waiter), "{place}"),
            }
        }
    }
}

#[test]
fn a_refused_operation_costs_few_statements() {
    for (callers, most) in [(64, [7, 15]), (1000, [11, 25])] {
        let (world, _) = one_refused_among(callers, Reason::Itself);
        println!("{callers}: {} and {}", world.statements[0], world.statements[1]);
        assert!(world.statements[0] <= most[0], "{}", world.statements[0]);
        assert!(world.statements[1] <= most[1], "{}", world.statements[1]);
    }
}

#[test]
fn an_unlock_that_is_always_refused_is_repeated_less_and_less() {
    let (mut world, grant) = holding(Write);
    world.refuse_key(Some(key()), Reason::Itself);
    let confirm = world.release(key(), grant, true).expect("it was asked for");
    let other = world.acquire(LockKey::from(8), Write, Patience::Wait);
    pass(&mut world, 60);
    assert!(is_granted(&world, other));
    assert!(matches!(world.outcomes[&confirm], Outcome::Failed(_)));
    assert!(world.statements[0] < 25, "{}", world.statements[0]);
    let hasty = world.acquire(key(), Read, Patience::Try);
    assert!(matches!(world.outcomes[&hasty], Outcome::Busy));
    world.refuse_key(None, Reason::Itself);
    pass(&mut world, 6);
    assert_eq!(world.server.claims(key()), []);
}

#[test]
fn a_refused_cancel_is_not_sent_again() {
    let (mut world, waiter) = waiting(Write);
    world.may_cancel = false;
    world.abandon(waiter, key());
    let other = world.acquire(LockKey::from(8), Write, Patience::Try);
    world.settle();
    assert!(is_granted(&world, other));
    assert!(!world.links.contains_key(&WAITING));
    assert_eq!((world.statements[0], world.refused_cancels), (1, 1));
    // From now on, the manager begins no wait that it might have to cancel.
    let next = world.acquire(key(), Write, Patience::Wait);
    world.reap(0, false);
    world.sent.clear();
    pass(&mut world, 3);
    let tries = (SHARED, Operation::TryLock(key(), Write));
    assert!(world.sent.contains(&tries) && world.sent.iter().all(|sent| *sent == tries));
    world.server.unlock(ELSEWHERE, key(), Write);
    pass(&mut world, 1);
    assert!(is_granted(&world, next));
}

#[test]
fn a_session_that_may_not_cancel_polls() {
    let mut world = world();
    world.may_cancel = false;
    world.server.try_lock(ELSEWHERE, key(), Write);
    let waiter = world.acquire(key(), Write, Patience::Wait);
    pass(&mut world, 3);
    assert_eq!(world.opened(), 1);
    assert_eq!(world.machine.stats(world.now).can_cancel, Some(false));
    world.server.unlock(ELSEWHERE, key(), Write);
    pass(&mut world, 1);
    assert!(is_granted(&world, waiter));
}

#[test]
fn cancels_of_several_waits_are_given_up_with_the_first() {
    let mut world = world_with(|config| config.max_waiting_sessions = 3);
    let keys = [1, 2, 3].map(LockKey::from);
    let waiters = keys.map(|key| {
        world.server.try_lock(ELSEWHERE, key, Write);
        world.acquire(key, Write, Patience::Wait)
    });
    world.settle();
    world.may_cancel = false;
    for (waiter, key) in waiters.into_iter().zip(keys) {
        world.abandon(waiter, key);
    }
    world.settle();
    assert_eq!(world.links.len(), 1);
    assert_eq!(world.refused_cancels, 1);
    assert!(world.statements[0] <= 2, "{}", world.statements[0]);
}

#[test]
fn a_wait_that_an_operator_cancels_is_begun_anew() {
    let (mut world, waiter) = waiting(Write);
    for _ in 0..10 {
        world.operator_cancels(WAITING, 0, false);
        world.settle();
        assert!(world.server.is_waiting(world.links[&WAITING].pid));
    }
    assert_eq!(world.repeated, [key(); 10]);
    world.server.unlock(ELSEWHERE, key(), Write);
    world.settle();
    assert!(is_granted(&world, waiter));
}

#[test]
fn a_refused_wait_reports_the_error() {
    for (reason, repeated) in [(Reason::Itself, 0), (Reason::Unknown, 2)] {
        let (mut world, waiter) = waiting(Write);
        for round in 0..=repeated {
            assert!(!world.outcomes.contains_key(&waiter), "{round}");
            world.refuse_for(WAITING, 0, false, reason);
            world.refused.insert(key());
            world.settle();
        }
        assert!(matches!(world.outcomes[&waiter], Outcome::Failed(_)));
        assert_eq!(world.repeated.len(), repeated);
    }
}

#[test]
fn an_operator_who_cancels_again_and_again_takes_no_lock_away() {
    let (mut world, grant) = holding(Write);
    let waiter = world.acquire(LockKey::from(8), Write, Patience::Wait);
    world.turn(SHARED, true);
    // The statement, and the questions about its effects.
    for _ in 0..5 {
        world.operator_cancels(SHARED, 0, false);
        world.turn(SHARED, true);
    }
    world.settle();
    assert!(is_granted(&world, waiter));
    let confirm = world.release(key(), grant, true).expect("it was asked for");
    world.settle();
    assert!(matches!(world.outcomes[&confirm], Outcome::Released));
    assert_eq!(world.losses.len(), 0);
}

#[test]
fn an_inspection_that_an_operator_cancels_is_repeated() {
    let (mut world, _) = holding(Write);
    let onlooker = world.look(None);
    world.turn(SHARED, true);
    world.operator_cancels(SHARED, 0, false);
    world.settle();
    assert!(matches!(world.outcomes[&onlooker], Outcome::Inspected(_)));
}

#[test]
fn a_cancelled_wait_keeps_nothing_even_if_it_was_granted() {
    let (mut world, waiter) = waiting_in(world(), Write);
    world.server.unlock(ELSEWHERE, key(), Write);
    world.operator_cancels(WAITING, 0, false);
    world.turn(WAITING, true);
    assert_eq!(world.sent.last(), Some(&(WAITING, Operation::UnlockAll)));
    world.settle();
    let grant = grant_of(&world, waiter);
    world.release(key(), grant, false);
    world.advance(Duration::from_millis(1));
    world.settle();
    assert_eq!(world.server.claims(key()), []);
}

/// A reader has a lock that the server granted 50 ms ago to a caller that has left, and that the
/// server refused to release.
fn passed_on_late(change: impl FnOnce(&mut Config)) -> World {
    let mut world = world_with(change);
    let gone = world.acquire(key(), Read, Patience::Try);
    world.turn(SHARED, true);
    world.abandon(gone, key());
    world.turn(SHARED, true);
    world.turn(SHARED, true);
    assert_eq!(world.sent.last(), Some(&(SHARED, Operation::Unlock(key(), Read))));
    world.advance(Duration::from_millis(50));
    world.refuse_key(Some(key()), Reason::Unknown);
    let reader = world.acquire(key(), Read, Patience::Wait);
    world.settle();
    assert!(is_granted(&world, reader));
    world
}

#[test]
fn a_lock_that_is_passed_on_late_has_been_held_since_it_was_granted() {
    let mut world = passed_on_late(|config| {
        config.max_shared_sessions = 2;
        config.max_waiting_sessions = 0;
        config.reconnect_pause = Duration::from_millis(20);
    });
    world.refuse_key(None, Reason::Unknown);
    // This one would need a probe, but the session for it cannot be opened.
    let reader = world.acquire(key(), Read, Patience::Wait);
    assert!(!is_granted(&world, reader));
    while !is_granted(&world, reader) {
        world.open_fails(false);
        world.advance(Duration::from_millis(1));
    }
    while world.machine.sessions.has_just_failed(world.now) {
        world.advance(Duration::from_millis(1));
    }
    let readers = [(); 3].map(|()| world.acquire(key(), Read, Patience::Wait));
    assert_eq!(readers.map(|reader| is_granted(&world, reader)), [true, true, false]);
}

#[test]
fn a_reader_does_not_join_because_its_question_was_refused() {
    let mut world = passed_on_late(|_| {});
    for _ in 0..3 {
        let reader = world.acquire(key(), Read, Patience::Wait);
        world.settle();
        assert!(matches!(world.outcomes[&reader], Outcome::Failed(_)));
    }
}
