//! Stray locks that the server refuses to release.

use std::time::Duration;

use super::{
    ELSEWHERE, KEY, SHARED, grant_of, holding_in, is_granted, key, pass, sharing, world_with,
};
use crate::driver::{Operation, Reason};
use crate::engine::machine::event::{Patience, SessionId};
use crate::engine::machine::tests::model::world::World;
use crate::key::LockKey;
use crate::mode::Mode::{Read, Write};

const SECOND: SessionId = SessionId(1);

/// Two sessions with two locks each. The second one also has a stray read lock on the first one's
/// key, which it cannot release. A reader of that key and a writer of another process wait.
fn with_a_stray_lock() -> World {
    let mut world = world_with(|config| {
        config.max_shared_sessions = 2;
        config.keys_per_session = 2;
        config.max_waiting_sessions = 0;
    });
    for number in [KEY, 10, 8, 9] {
        world.acquire(LockKey::from(number), Read, Patience::Wait);
        world.settle();
    }
    world.advance(Duration::from_millis(60));
    world.acquire(key(), Read, Patience::Wait);
    world.turn(SECOND, true);
    assert_eq!(world.sent.last(), Some(&(SECOND, Operation::Probe(key()))));
    world.operator_cancels(SECOND, 0, true);
    world.server.lock(ELSEWHERE, key(), Write);
    world.refuse_key(Some(key()), Reason::Itself);
    world
}

#[test]
fn a_session_with_a_stray_lock_is_not_asked_for_its_key() {
    let mut world = with_a_stray_lock();
    world.sent.clear();
    world.settle();
    assert!(world.sent.contains(&(SECOND, Operation::Unlock(key(), Read))));
    let doomed = world.machine.sessions.get(SECOND).is_some_and(|session| session.is_doomed());
    assert!(doomed && world.server.count(world.links[&SECOND].pid, key(), Read) == 1);
    // Nor while that session is busy.
    let guards = world.reference.guards();
    let (other, guard) = guards.iter().find(|(_, g)| g.session == SECOND).expect("it holds two");
    world.release(*other, guard.grant, false);
    world.turn(SECOND, true);
    world.advance(Duration::from_millis(60));
    world.acquire(key(), Read, Patience::Wait);
    world.settle();
}

#[test]
fn a_session_with_a_stray_lock_does_not_try_its_key_again() {
    let (mut world, writer) = sharing();
    world.acquire(LockKey::from(8), Write, Patience::Wait);
    world.settle();
    let reader = world.acquire(key(), Read, Patience::Wait);
    world.release(key(), writer, false);
    world.turn(SHARED, true);
    assert_eq!(world.sent.last(), Some(&(SHARED, Operation::Downgrade(key()))));
    world.operator_cancels(SHARED, 0, true);
    world.refuse_key(Some(key()), Reason::Itself);
    world.settle();
    assert!(world.machine.sessions.get(SHARED).is_some_and(|session| session.is_doomed()));
    world.refuse_key(None, Reason::Itself);
    world.sent.clear();
    let next = world.acquire(key(), Write, Patience::Wait);
    world.release(key(), grant_of(&world, reader), false);
    let grant = grant_of(&world, next);
    world.advance(Duration::from_millis(60));
    // The lock must not pass to this caller.
    let last = world.acquire(key(), Write, Patience::Wait);
    world.release(key(), grant, false);
    world.settle();
    assert_eq!(world.sent[0], (SHARED, Operation::Unlock(key(), Write)));
    assert!(!world.sent.contains(&(SHARED, Operation::TryLock(key(), Write))));
    // The heartbeat finds the read lock, which can be released by now.
    pass(&mut world, 3);
    assert!(is_granted(&world, last));
}

/// An upgrade is refused in its middle, so that the session has both locks, and the server does not
/// let it release the read lock. Later, the write lock becomes a read lock, which the session has
/// twice then.
#[test]
fn a_stray_lock_that_was_taken_again_ends_with_its_session() {
    let (mut world, grant) = holding_in(world_with(|config| config.batch = 1), Read);
    let upgrade = world.upgrade(key(), grant, Patience::Try);
    world.turn(SHARED, true);
    assert_eq!(world.sent.last(), Some(&(SHARED, Operation::Upgrade(key()))));
    world.refuse(SHARED, 0, true);
    world.refuse_key(Some(key()), Reason::Itself);
    world.abandon(upgrade, key());
    while world.sent.last() != Some(&(SHARED, Operation::Downgrade(key()))) {
        match world.movable().contains(&SHARED) {
            true => world.turn(SHARED, true),
            false => world.advance(Duration::from_millis(1)),
        }
    }
    world.refuse_key(None, Reason::Itself);
    world.turn(SHARED, true);
    let pid = world.links[&SHARED].pid;
    assert_eq!(world.server.count(pid, key(), Write), 0);
    assert_eq!(world.server.count(pid, key(), Read), 2);
    assert!(world.machine.sessions.get(SHARED).is_some_and(|session| session.is_doomed()));
    world.release(key(), grant, false);
    world.settle();
    assert_eq!(world.server.claims(key()), []);
    assert!(!world.links.contains_key(&SHARED));
}

#[test]
fn a_session_closed_for_a_stray_is_missed_until_it_is_replaced() {
    let (mut world, writer) = sharing();
    let reader = world.acquire(key(), Read, Patience::Wait);
    world.release(key(), writer, false);
    world.turn(SHARED, true);
    world.operator_cancels(SHARED, 0, true);
    world.refuse_key(Some(key()), Reason::Itself);
    world.settle();
    assert!(world.machine.sessions.get(SHARED).is_some_and(|session| session.is_doomed()));
    world.refuse_key(None, Reason::Itself);
    world.release(key(), grant_of(&world, reader), false);
    let is_closing = |world: &World| {
        world.machine.sessions.get(SHARED).is_some_and(|session| session.is_closing())
    };
    while !is_closing(&world) {
        world.turn(SHARED, true);
    }
    let stats = world.machine.stats(world.now);
    assert!(!stats.connected && stats.down_for.is_some(), "{stats:?}");
    assert_eq!(world.outages.len(), 0, "this is no outage of the server");
    world.settle();
    let stats = world.machine.stats(world.now);
    assert!(stats.connected && stats.down_for.is_none(), "{stats:?}");
}
