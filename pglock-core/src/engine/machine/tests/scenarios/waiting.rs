//! Waits at the server, and their ends.

use std::time::Duration;

use super::{
    ELSEWHERE, SHARED, WAITING, holding, holding_in, is_granted, key, pass, run, waiting,
    waiting_in, world, world_with,
};
use crate::driver::Operation;
use crate::engine::machine::config::Config;
use crate::engine::machine::event::{Outcome, Patience, SessionId};
use crate::engine::machine::tests::model::world::World;
use crate::key::LockKey;
use crate::mode::Mode::{Read, Write};

#[test]
fn a_busy_lock_is_waited_for_in_the_queue_of_the_server() {
    let (mut world, waiter) = waiting(Write);
    assert_eq!(world.sent.last(), Some(&(WAITING, Operation::Lock(key(), Write))));
    world.server.unlock(ELSEWHERE, key(), Write);
    world.settle();
    assert!(is_granted(&world, waiter));
}

#[test]
fn a_try_is_refused_when_another_process_holds_the_lock() {
    let mut world = world();
    world.server.try_lock(ELSEWHERE, key(), Read);
    let writer = world.acquire(key(), Write, Patience::Try);
    let reader = world.acquire(key(), Read, Patience::Try);
    world.settle();
    assert!(matches!(world.outcomes[&writer], Outcome::Busy));
    assert!(is_granted(&world, reader));
}

#[test]
fn a_wait_that_the_server_has_forgotten_is_begun_again() {
    let (mut world, waiter) = waiting(Write);
    world.silence(WAITING);
    pass(&mut world, 12);
    assert!(!world.links.contains_key(&WAITING));
    assert!(world.server.is_waiting(world.links[&SessionId(2)].pid));
    world.server.unlock(ELSEWHERE, key(), Write);
    world.settle();
    assert!(is_granted(&world, waiter));
}

#[test]
fn long_waits_are_renewed_by_default() {
    let (mut world, _) = waiting_in(World::new(Config::default(), vec![key()], 1), Write);
    let begin = world.now;
    while !world.sent.iter().any(|(_, operation)| matches!(operation, Operation::Cancel(_))) {
        pass(&mut world, 1);
        assert!(world.now.since(begin) <= Duration::from_secs(61));
    }
    assert!(world.now.since(begin) >= Duration::from_secs(30));
}

#[test]
fn a_long_wait_continues_and_never_holds_back_vacuum_for_long() {
    const RENEWAL: Duration = Duration::from_secs(60);
    for renewal in [Some(RENEWAL), None] {
        let config = world_with(|config| config.wait_renewal = renewal);
        let (mut world, waiter) = waiting_in(config, Write);
        let begin = world.now;
        for _ in 0..600 {
            pass(&mut world, 1);
            assert!(world.server.is_waiting(world.links[&WAITING].pid));
            let session = world.machine.sessions.get(WAITING).unwrap();
            let waited = if renewal.is_some() { RENEWAL } else { world.now.since(begin) };
            assert!(world.now.since(session.last_sent()) <= waited);
        }
        let cancels = world.sent.iter().filter(|(_, op)| matches!(op, Operation::Cancel(_)));
        let expected = if renewal.is_some() { 10..=20 } else { 0..=0 };
        assert!(expected.contains(&cancels.count()));
        world.server.unlock(ELSEWHERE, key(), Write);
        world.settle();
        assert!(is_granted(&world, waiter));
    }
}

#[test]
fn a_lock_that_comes_free_while_its_wait_is_renewed_is_granted() {
    let renewal = |config: &mut Config| config.wait_renewal = Some(Duration::from_secs(60));
    for turns in 0..4 {
        let (mut world, waiter) = waiting_in(world_with(renewal), Write);
        while !world.sent.iter().any(|(_, op)| matches!(op, Operation::Cancel(_))) {
            world.advance(Duration::from_millis(100));
            run(&mut world, SHARED);
        }
        for _ in 0..turns {
            world.turn(WAITING, true);
        }
        world.server.unlock(ELSEWHERE, key(), Write);
        world.settle();
        world.advance(Duration::from_millis(100));
        world.settle();
        assert!(is_granted(&world, waiter), "{turns}: {world:?}");
    }
}

#[test]
fn an_abandoned_waiter_is_cancelled_at_the_server() {
    let (mut world, waiter) = waiting(Write);
    world.abandon(waiter, key());
    world.settle();
    assert!(!world.server.is_waiting(world.links[&WAITING].pid));
    assert!(world.machine.keys.is_empty());
}

#[test]
fn a_cancel_that_comes_before_the_wait_has_begun_is_repeated() {
    let (mut world, waiter) = waiting(Write);
    world.abandon(waiter, key());
    world.settle();
    let waiter = world.acquire(key(), Write, Patience::Wait);
    run(&mut world, SHARED);
    world.turn(WAITING, false);
    world.abandon(waiter, key());
    world.turn(SHARED, false);
    world.turn(SHARED, false);
    world.settle();
    assert!(world.server.is_waiting(world.links[&WAITING].pid));
    world.advance(Duration::from_millis(20));
    world.settle();
    assert!(!world.server.is_waiting(world.links[&WAITING].pid));
}

#[test]
fn a_lock_granted_to_a_cancelled_wait_is_released() {
    let (mut world, waiter) = waiting(Write);
    world.abandon(waiter, key());
    world.server.unlock(ELSEWHERE, key(), Write);
    world.turn(WAITING, false);
    world.settle();
    assert_eq!(world.sent.last(), Some(&(WAITING, Operation::Unlock(key(), Write))));
    world.drain();
}

#[test]
fn a_failed_wait_that_was_granted_releases_everything() {
    let (mut world, waiter) = waiting(Write);
    world.server.unlock(ELSEWHERE, key(), Write);
    world.refuse(WAITING, 0, false);
    world.settle();
    assert_eq!(world.sent.last(), Some(&(WAITING, Operation::UnlockAll)));
    assert!(matches!(world.outcomes[&waiter], Outcome::Failed(_)));
    assert_eq!(world.server.holdings(world.links[&WAITING].pid), []);
}

#[test]
fn a_reader_tries_for_itself_when_the_writer_before_it_goes() {
    let mut world = world_with(|config| config.max_waiting_sessions = 0);
    world.server.try_lock(ELSEWHERE, key(), Read);
    let writer = world.acquire(key(), Write, Patience::Wait);
    world.settle();
    let waits = world.acquire(key(), Read, Patience::Wait);
    world.abandon(writer, key());
    let tries = world.acquire(key(), Read, Patience::Try);
    world.settle();
    assert!(is_granted(&world, waits) && is_granted(&world, tries));
}

#[test]
fn a_try_is_not_refused_because_of_another_try_that_is_refused() {
    let (mut world, _) = holding(Read);
    world.advance(Duration::from_millis(60));
    world.acquire(key(), Read, Patience::Wait);
    let writer = world.acquire(key(), Write, Patience::Try);
    let reader = world.acquire(key(), Read, Patience::Try);
    world.settle();
    assert!(matches!(world.outcomes[&writer], Outcome::Busy));
    assert!(is_granted(&world, reader));
}

#[test]
fn a_caller_waits_while_the_last_allowed_lock_is_released() {
    let other = LockKey::from(8);
    for given_back in [0, 1] {
        let (mut world, grant) = holding_in(world_with(|config| config.max_locks = Some(1)), Write);
        world.release(key(), grant, false);
        for _ in 0..given_back {
            world.turn(SHARED, true);
        }
        let waiter = world.acquire(other, Write, Patience::Wait);
        world.settle();
        assert!(is_granted(&world, waiter), "{:?}", world.outcomes);
    }
}

#[test]
fn a_caller_may_take_the_place_of_an_abandoned_wait() {
    let (mut world, writer) = waiting_in(world_with(|config| config.max_locks = Some(1)), Write);
    assert!(matches!(world.sent.last(), Some((WAITING, Operation::Lock(..)))));
    let reader = world.acquire(key(), Read, Patience::Wait);
    world.abandon(writer, key());
    world.settle();
    world.server.unlock(ELSEWHERE, key(), Write);
    world.settle();
    assert!(is_granted(&world, reader), "{:?}", world.outcomes);
}

#[test]
fn a_caller_waits_while_the_last_allowed_wait_is_cancelled() {
    let (mut world, writer) = waiting_in(world_with(|config| config.max_locks = Some(1)), Write);
    world.abandon(writer, key());
    let waiter = world.acquire(LockKey::from(8), Write, Patience::Wait);
    world.settle();
    assert!(is_granted(&world, waiter), "{:?}", world.outcomes);
}
