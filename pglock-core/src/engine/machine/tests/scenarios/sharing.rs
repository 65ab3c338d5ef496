//! Write locks that readers of the process share.

use std::time::Duration;

use super::{ELSEWHERE, SHARED, grant_of, is_granted, key, sharing};
use crate::driver::{Holding, Operation, Reason};
use crate::engine::machine::event::{CallerId, GrantId, Outcome, Patience};
use crate::engine::machine::tests::model::world::World;
use crate::mode::Mode::{Read, Write};

#[test]
fn readers_and_writers_pass_on_a_write_lock_without_a_request() {
    let (mut world, first) = sharing();
    let reader = world.acquire(key(), Read, Patience::Wait);
    let writer = world.acquire(key(), Write, Patience::Wait);
    world.release(key(), first, false);
    let reader = grant_of(&world, reader);
    assert!(!is_granted(&world, writer));
    world.release(key(), reader, false);
    world.settle();
    assert!(is_granted(&world, writer));
    assert_eq!(world.sent, []);
}

#[test]
fn readers_elsewhere_come_in_when_no_writer_here_waits() {
    let (mut world, grant) = sharing();
    let reader = world.acquire(key(), Read, Patience::Wait);
    world.release(key(), grant, false);
    assert!(is_granted(&world, reader));
    world.settle();
    assert_eq!(world.sent, [(SHARED, Operation::Downgrade(key()))]);
    assert!(world.server.try_lock(ELSEWHERE, key(), Read));
}

/// Readers of this process hold the lock, and a writer of this process waits.
fn reading_before_a_writer() -> (World, GrantId, CallerId) {
    let (mut world, grant) = sharing();
    let reader = world.acquire(key(), Read, Patience::Wait);
    let writer = world.acquire(key(), Write, Patience::Wait);
    world.release(key(), grant, false);
    world.settle();
    assert_eq!(world.sent, []);
    let reader = grant_of(&world, reader);
    (world, reader, writer)
}

#[test]
fn readers_elsewhere_come_in_later_although_a_writer_here_waits() {
    let (mut world, reader, writer) = reading_before_a_writer();
    world.server.lock(ELSEWHERE, key(), Read);
    world.advance(Duration::from_millis(50));
    world.settle();
    assert_eq!(world.sent, [(SHARED, Operation::Downgrade(key()))]);
    assert!(!world.server.is_waiting(ELSEWHERE));
    world.release(key(), reader, false);
    world.server.unlock(ELSEWHERE, key(), Read);
    world.settle();
    assert!(is_granted(&world, writer));
}

#[test]
fn readers_here_keep_their_lock_although_a_writer_elsewhere_waits() {
    let (mut world, reader, _) = reading_before_a_writer();
    world.server.lock(ELSEWHERE, key(), Write);
    world.advance(Duration::from_millis(50));
    world.settle();
    assert!(world.server.is_waiting(ELSEWHERE));
    world.release(key(), reader, false);
    world.settle();
    assert!(!world.server.is_waiting(ELSEWHERE));
}

#[test]
fn a_write_lock_that_is_wanted_again_is_not_shared() {
    let (mut world, grant) = sharing();
    let reader = world.acquire(key(), Read, Patience::Wait);
    world.release(key(), grant, false);
    let writer = world.acquire(key(), Write, Patience::Wait);
    world.settle();
    let reader = grant_of(&world, reader);
    world.release(key(), reader, false);
    assert!(is_granted(&world, writer));
    assert_eq!(world.sent, []);
}

#[test]
fn a_reader_joins_the_readers_of_an_old_write_lock_once_it_is_shared() {
    let (mut world, ..) = reading_before_a_writer();
    let late = world.acquire(key(), Read, Patience::Wait);
    world.advance(Duration::from_millis(50));
    world.settle();
    assert!(!is_granted(&world, late), "a writer came first");
}

#[test]
fn an_unlock_behind_a_downgrade_releases_the_read_lock() {
    let (mut world, grant) = sharing();
    let reader = world.acquire(key(), Read, Patience::Wait);
    world.release(key(), grant, false);
    let reader = grant_of(&world, reader);
    world.turn(SHARED, true);
    let confirm = world.release(key(), reader, true).unwrap();
    world.settle();
    assert!(matches!(world.outcomes[&confirm], Outcome::Released));
    let then = [(SHARED, Operation::Downgrade(key())), (SHARED, Operation::Unlock(key(), Read))];
    assert_eq!(world.sent, then);
    assert_eq!(world.server.holdings(world.links[&SHARED].pid), []);
}

#[test]
fn a_failed_downgrade_is_repeated() {
    for (done, half) in [(0, false), (0, true), (1, false)] {
        let (mut world, grant) = sharing();
        let reader = world.acquire(key(), Read, Patience::Wait);
        world.release(key(), grant, false);
        let reader = grant_of(&world, reader);
        world.turn(SHARED, true);
        world.refuse(SHARED, done, half);
        world.settle();
        world.advance(Duration::from_millis(50));
        world.settle();
        let shared = Holding { key: key(), mode: Read };
        assert_eq!(world.server.holdings(world.links[&SHARED].pid), [shared]);
        let confirm = world.release(key(), reader, true).unwrap();
        world.settle();
        assert!(matches!(world.outcomes[&confirm], Outcome::Released));
        world.drain();
    }
}

#[test]
fn a_session_without_the_lock_to_downgrade_ends() {
    let (mut world, grant) = sharing();
    world.faulty = true;
    let _reader = world.acquire(key(), Read, Patience::Wait);
    world.release(key(), grant, false);
    let other = world.acquire(9.into(), Write, Patience::Wait);
    world.turn(SHARED, true);
    // Something else releases the lock in the same server session.
    world.server.unlock_all(world.links[&SHARED].pid);
    world.settle();
    let both =
        [(SHARED, Operation::Downgrade(key())), (SHARED, Operation::TryLock(9.into(), Write))];
    assert_eq!(world.sent[..2], both);
    assert_eq!(world.losses.len(), 1);
    let Outcome::Granted { session, .. } = world.outcomes[&other] else { panic!("it is free") };
    assert_ne!(session, SHARED, "what the session took is gone with it");
    world.drain();
}

#[test]
fn refused_conversion_after_an_upgrade_costs_no_session() {
    let (mut world, grant) = sharing();
    world.release(key(), grant, false);
    world.acquire(key(), Read, Patience::Try);
    let upgrade = world.upgrade(key(), grant, Patience::Try);
    assert!(matches!(world.outcomes[&upgrade], Outcome::Upgraded));
    world.release(key(), grant, false);
    // Two conversions are in line now.
    world.acquire(key(), Read, Patience::Try);
    world.refuse_key(Some(key()), Reason::Itself);
    world.settle();
    assert!(world.losses.is_empty());
}
