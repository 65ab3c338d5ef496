//! Locks that pass on fast between readers and writers: others come in, and then it goes on.

use super::{ELSEWHERE, SHARED, grant_of, holding_in, is_granted, key, sent_by_shared, world_with};
use crate::driver::{Operation, Reason};
use crate::engine::machine::event::{CallerId, GrantId, Patience};
use crate::engine::machine::tests::model::world::World;
use crate::mode::Mode::{Read, Write};

fn letting_in() -> Operation {
    Operation::LetIn(key())
}

/// The lock has passed on during a round trip, whose answer is there. A reader has it, before a
/// writer and another reader. The next statement is on its way.
fn after_a_round_trip() -> (World, GrantId, [CallerId; 2]) {
    let (mut world, grant) = holding_in(world_with(|config| config.hand_over_count = 9), Write);
    let waiters =
        [Read, Write, Read, Write, Read].map(|mode| world.acquire(key(), mode, Patience::Wait));
    world.release(key(), grant, false);
    // The round trip begins.
    world.turn(SHARED, true);
    assert_eq!(world.sent, [(SHARED, Operation::Ping)]);
    world.release(key(), grant, false);
    world.release(key(), grant, false);
    assert!(is_granted(&world, waiters[2]) && !is_granted(&world, waiters[3]));
    world.turn(SHARED, true);
    world.turn(SHARED, true);
    assert_eq!(world.sent.last(), Some(&(SHARED, letting_in())));
    world.sent.clear();
    (world, grant, [waiters[3], waiters[4]])
}

#[test]
fn lock_goes_on_passing_if_no_others_come_in() {
    let (mut world, grant, [writer, reader]) = after_a_round_trip();
    world.release(key(), grant, false);
    assert!(!is_granted(&world, writer), "others may be reading");
    world.turn(SHARED, true);
    world.turn(SHARED, true);
    assert!(is_granted(&world, writer));
    world.release(key(), grant, false);
    assert!(is_granted(&world, reader));
    world.settle();
    assert_eq!(world.sent, [(SHARED, Operation::Downgrade(key()))]);
}

#[test]
fn readers_elsewhere_come_in() {
    let (mut world, grant, [writer, _]) = after_a_round_trip();
    world.server.lock(ELSEWHERE, key(), Read);
    world.release(key(), grant, false);
    world.settle();
    assert!(!world.server.is_waiting(ELSEWHERE) && !is_granted(&world, writer));
    world.server.unlock(ELSEWHERE, key(), Read);
    world.settle();
    assert!(is_granted(&world, writer));
}

#[test]
fn writer_elsewhere_comes_next_unless_the_server_lets_ours_pass() {
    for passes in [false, true] {
        let (mut world, grant, [writer, _]) = after_a_round_trip();
        world.server.lock(ELSEWHERE, key(), Write);
        world.turn(SHARED, passes);
        world.release(key(), grant, false);
        world.turn(SHARED, true);
        assert_eq!(is_granted(&world, writer), passes);
        world.settle();
        assert_eq!(world.server.is_waiting(ELSEWHERE), passes);
    }
}

#[test]
fn readers_that_stay_are_readers_for_the_server() {
    let (mut world, _, [writer, _]) = after_a_round_trip();
    world.settle();
    // In the second round trip, no reader has left.
    assert!(!is_granted(&world, writer));
    assert_eq!(world.server.claims(key()).last(), Some(&(world.links[&SHARED].pid, Read)));
    assert_eq!(world.sent, sent_by_shared(&[Operation::Ping, Operation::Downgrade(key())]));
}

#[test]
fn refusal_leaves_readers_with_what_they_have() {
    for (done, half, mode) in [(0, false, Write), (0, true, Read), (1, false, Write)] {
        let (mut world, grant, [writer, reader]) = after_a_round_trip();
        world.refuse(SHARED, done, half);
        while !world.server.claims(key()).iter().all(|(_, held)| *held == Read) {
            assert_eq!(mode, Write);
            world.turn(SHARED, true);
        }
        world.settle();
        assert!(world.losses.is_empty() && !is_granted(&world, writer));
        world.release(key(), grant, false);
        world.settle();
        assert!(is_granted(&world, writer) && !is_granted(&world, reader));
        world.refuse_key(None, Reason::Itself);
        world.drain();
    }
}

#[test]
fn refusal_does_not_keep_an_unused_lock() {
    for (done, half) in [(0, false), (0, true), (1, false)] {
        let (mut world, grant, [writer, reader]) = after_a_round_trip();
        world.release(key(), grant, false);
        world.refuse(SHARED, done, half);
        world.settle();
        assert!(is_granted(&world, writer), "{done} {half}");
        world.release(key(), grant_of(&world, writer), false);
        world.settle();
        assert!(is_granted(&world, reader));
        world.drain();
    }
}
