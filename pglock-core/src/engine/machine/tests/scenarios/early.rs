//! Readers that get the lock of a writer of this process at once.

use std::time::Duration;

use super::{
    ELSEWHERE, SHARED, WAITING, grant_of, holding, holding_in, is_granted, key, run,
    sent_by_shared, world_with,
};
use crate::driver::{Operation, Reason};
use crate::engine::machine::event::{CallerId, Effects, Event, GrantId, Job, Outcome, Patience};
use crate::engine::machine::tests::model::world::World;
use crate::error::ErrorKind;
use crate::mode::Mode::{Read, Write};

fn conversion() -> Operation {
    Operation::Downgrade(key())
}

#[test]
fn readers_get_the_lock_at_once_when_a_writer_leaves() {
    let (mut world, grant) = holding(Write);
    let readers = [0; 2].map(|_| world.acquire(key(), Read, Patience::Wait));
    world.release(key(), grant, false);
    assert!(readers.iter().all(|reader| is_granted(&world, *reader)));
    world.settle();
    assert_eq!(world.sent, [(SHARED, conversion())]);
}

#[test]
fn reader_that_comes_before_the_unlock_is_sent_needs_no_request() {
    let (mut world, grant) = holding(Write);
    world.release(key(), grant, false);
    let reader = world.acquire(key(), Read, Patience::Try);
    assert!(is_granted(&world, reader));
    world.settle();
    assert_eq!(world.sent, [(SHARED, conversion())]);
}

#[test]
fn readers_elsewhere_come_in_with_the_next_statement() {
    let (mut world, grant) = holding(Write);
    world.server.lock(ELSEWHERE, key(), Read);
    let reader = world.acquire(key(), Read, Patience::Wait);
    world.release(key(), grant, false);
    assert!(is_granted(&world, reader) && world.server.is_waiting(ELSEWHERE));
    world.settle();
    assert!(!world.server.is_waiting(ELSEWHERE));
    assert_eq!(world.sent, [(SHARED, conversion())]);
}

#[test]
fn writer_elsewhere_comes_before_readers_that_come_late() {
    let (mut world, grant) = holding(Write);
    world.server.lock(ELSEWHERE, key(), Write);
    let reader = world.acquire(key(), Read, Patience::Wait);
    world.release(key(), grant, false);
    assert!(is_granted(&world, reader));
    world.advance(Duration::from_millis(50));
    let late = world.acquire(key(), Read, Patience::Wait);
    world.settle();
    assert!(world.server.is_waiting(ELSEWHERE) && !is_granted(&world, late));
    world.release(key(), grant, false);
    world.settle();
    assert!(!world.server.is_waiting(ELSEWHERE) && !is_granted(&world, late));
    world.server.unlock(ELSEWHERE, key(), Write);
    world.settle();
    assert!(is_granted(&world, late));
}

#[test]
fn writer_elsewhere_comes_before_readers_behind_an_old_lock() {
    let (mut world, grant) = holding(Write);
    world.server.lock(ELSEWHERE, key(), Write);
    let reader = world.acquire(key(), Read, Patience::Wait);
    world.advance(Duration::from_millis(50));
    world.release(key(), grant, false);
    world.settle();
    assert!(!world.server.is_waiting(ELSEWHERE) && !is_granted(&world, reader));
    let there_and_back =
        [(SHARED, Operation::Unlock(key(), Write)), (SHARED, Operation::TryLock(key(), Read))];
    assert_eq!(world.sent[..2], there_and_back);
}

#[test]
fn readers_ask_the_server_where_nothing_is_handed_over() {
    let (mut world, grant) = holding_in(world_with(|config| config.hand_over_count = 0), Write);
    let reader = world.acquire(key(), Read, Patience::Wait);
    world.release(key(), grant, false);
    assert!(!is_granted(&world, reader));
    world.settle();
    assert!(is_granted(&world, reader));
}

/// A reader and two writers of this process wait for a writer, which leaves.
fn reading_before_writers() -> (World, GrantId, [CallerId; 2]) {
    let (mut world, grant) = holding_in(world_with(|config| config.hand_over_count = 9), Write);
    let reader = world.acquire(key(), Read, Patience::Wait);
    let writers = [0; 2].map(|_| world.acquire(key(), Write, Patience::Wait));
    let last = world.acquire(key(), Read, Patience::Wait);
    world.release(key(), grant, false);
    assert!(is_granted(&world, reader));
    assert!(writers.iter().chain([&last]).all(|later| !is_granted(&world, *later)));
    (world, grant, writers)
}

#[test]
fn readers_before_a_writer_have_a_round_trip() {
    let (mut world, ..) = reading_before_writers();
    world.server.lock(ELSEWHERE, key(), Read);
    world.settle();
    assert!(!world.server.is_waiting(ELSEWHERE));
    assert_eq!(world.sent, sent_by_shared(&[Operation::Ping, conversion()]));
}

#[test]
fn lock_passes_from_mode_to_mode_for_a_round_trip() {
    let (mut world, grant, writers) = reading_before_writers();
    for writer in writers {
        world.release(key(), grant, false);
        assert!(is_granted(&world, writer));
        // The statement is sent, and executed.
        world.turn(SHARED, true);
    }
    world.release(key(), grant, false);
    world.settle();
    assert_eq!(world.sent, sent_by_shared(&[Operation::Ping, conversion()]));
}

#[test]
fn readers_elsewhere_come_in_after_the_writer_that_has_the_lock_then() {
    let (mut world, grant, writers) = reading_before_writers();
    world.server.lock(ELSEWHERE, key(), Read);
    world.release(key(), grant, false);
    assert!(is_granted(&world, writers[0]));
    world.settle();
    assert_eq!(world.sent, sent_by_shared(&[Operation::Ping]));
    world.release(key(), grant, false);
    assert!(!is_granted(&world, writers[1]));
    world.settle();
    assert!(!world.server.is_waiting(ELSEWHERE));
    let then = [Operation::Unlock(key(), Write), Operation::TryLock(key(), Write)];
    assert_eq!(world.sent[1..3], sent_by_shared(&then));
}

#[test]
fn writer_that_gets_the_lock_before_the_conversion_is_sent_is_the_last_one() {
    let (mut world, grant, writers) = reading_before_writers();
    // The answer arrives, and the session has yet to ask what is next.
    world.turn(SHARED, true);
    world.turn(SHARED, true);
    world.step(Event::Answered { session: SHARED, answer: [true].into_iter().collect() });
    world.release(key(), grant, false);
    assert!(is_granted(&world, writers[0]));
    let mut effects = Effects::default();
    assert!(matches!(world.machine.poll_job(SHARED, world.now, &mut effects), Job::Idle));
    world.release(key(), grant, false);
    assert!(!is_granted(&world, writers[1]));
}

#[test]
fn lock_that_no_caller_wants_any_more_is_released() {
    let (mut world, grant) = holding(Write);
    world.acquire(key(), Read, Patience::Wait);
    world.acquire(key(), Write, Patience::Wait);
    for _ in 0..3 {
        world.release(key(), grant, false);
    }
    world.settle();
    assert_eq!(world.sent, sent_by_shared(&[Operation::Unlock(key(), Write)]));
}

#[test]
fn readers_that_leave_during_the_conversion_leave_a_read_lock() {
    let (mut world, grant, writers) = reading_before_writers();
    // The round trip, and the begin of the next one.
    for _ in 0..3 {
        world.turn(SHARED, true);
    }
    world.release(key(), grant, false);
    assert!(!is_granted(&world, writers[0]));
    world.settle();
    assert!(is_granted(&world, writers[0]));
    let then = [Operation::Unlock(key(), Read), Operation::TryLock(key(), Write)];
    let all = [[Operation::Ping, conversion()], then].concat();
    assert_eq!(world.sent, sent_by_shared(&all));
}

#[test]
fn conversion_confirms_the_release_of_the_writer() {
    for is_lost in [false, true] {
        let (mut world, grant) = holding(Write);
        let reader = world.acquire(key(), Read, Patience::Wait);
        let confirm = world.release(key(), grant, true).unwrap();
        assert!(is_granted(&world, reader));
        // It is sent.
        world.turn(SHARED, true);
        assert!(!world.outcomes.contains_key(&confirm));
        if is_lost {
            world.kill(SHARED, false);
        }
        world.settle();
        match &world.outcomes[&confirm] {
            Outcome::Released => assert!(!is_lost),
            Outcome::Failed(error) => assert!(is_lost && error.kind() == ErrorKind::Lost),
            other => panic!("{other:?}"),
        }
        assert_eq!(world.sent, [(SHARED, conversion())]);
        assert_eq!(world.losses.len(), usize::from(is_lost));
    }
}

#[test]
fn reader_becomes_a_writer_again_before_the_server_knows() {
    let (mut world, grant) = holding(Write);
    world.release(key(), grant, false);
    let reader = world.acquire(key(), Read, Patience::Try);
    let upgrade = world.upgrade(key(), grant_of(&world, reader), Patience::Try);
    assert!(matches!(world.outcomes[&upgrade], Outcome::Upgraded));
    world.settle();
    assert_eq!(world.sent, []);
}

#[test]
fn refused_conversion_is_repeated() {
    let (mut world, grant) = holding(Write);
    world.acquire(key(), Read, Patience::Wait);
    world.release(key(), grant, false);
    world.refuse_key(Some(key()), Reason::Itself);
    world.settle();
    world.refuse_key(None, Reason::Itself);
    world.advance(Duration::from_millis(50));
    world.settle();
    assert!(world.server.try_lock(ELSEWHERE, key(), Read));
    assert!(world.losses.is_empty());
    world.drain();
}

#[test]
fn readers_get_a_lock_for_which_a_session_has_waited() {
    let (mut world, writer) = super::waiting(Write);
    let reader = world.acquire(key(), Read, Patience::Wait);
    world.server.unlock(ELSEWHERE, key(), Write);
    run(&mut world, WAITING);
    world.sent.clear();
    let grant = grant_of(&world, writer);
    world.release(key(), grant, false);
    assert!(is_granted(&world, reader));
    world.settle();
    assert_eq!(world.sent, [(WAITING, conversion())]);
}
