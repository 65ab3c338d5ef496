//! Readers that probe whether a writer of another process waits.

use std::time::Duration;

use super::{
    ELSEWHERE, KEY, SHARED, WAITING, grant_of, holding, is_granted, key, world_with,
    world_without_waiting_sessions,
};
use crate::driver::Operation;
use crate::engine::machine::event::{Outcome, Patience, SessionId};
use crate::engine::machine::tests::model::link::Stage;
use crate::key::LockKey;
use crate::mode::Mode::{Read, Write};

#[test]
fn a_reader_probes_for_a_writer_before_it_joins_an_old_grant() {
    let (mut world, _) = holding(Read);
    world.advance(Duration::from_millis(60));
    let reader = world.acquire(key(), Read, Patience::Wait);
    world.settle();
    assert_eq!(world.sent, [(WAITING, Operation::Probe(key()))]);
    assert!(is_granted(&world, reader));
}

#[test]
fn a_reader_waits_behind_a_writer_of_another_process() {
    let (mut world, grant) = holding(Read);
    world.server.lock(ELSEWHERE, key(), Write);
    world.advance(Duration::from_millis(60));
    let reader = world.acquire(key(), Read, Patience::Wait);
    world.settle();
    world.release(key(), grant, false);
    world.settle();
    assert!(!is_granted(&world, reader));
    world.server.unlock(ELSEWHERE, key(), Write);
    world.settle();
    assert!(is_granted(&world, reader));
}

#[test]
fn a_try_to_read_is_not_refused_by_an_earlier_request() {
    let (mut world, _) = holding(Read);
    world.server.lock(ELSEWHERE, key(), Write);
    world.advance(Duration::from_millis(60));
    let early = world.acquire(key(), Read, Patience::Try);
    // It has connected and asked, and the answer is on its way.
    (0..2).for_each(|_| world.turn(WAITING, true));
    assert!(matches!(world.links[&WAITING].stage, Stage::Answer(_)));
    world.server.leave_queue(ELSEWHERE);
    let late = [(); 2].map(|()| world.acquire(key(), Read, Patience::Try));
    world.settle();
    assert!(matches!(world.outcomes[&early], Outcome::Busy));
    assert!(late.iter().all(|reader| is_granted(&world, *reader)));
}

#[test]
fn a_reader_is_let_in_when_the_writer_elsewhere_gives_up() {
    // No session is left to wait in, so the reader must find out by polling.
    let mut world = world_with(|config| {
        config.max_shared_sessions = 2;
        config.keys_per_session = 1;
        config.max_waiting_sessions = 0;
    });
    for number in [KEY, 8] {
        world.acquire(LockKey::from(number), Read, Patience::Wait);
        world.settle();
    }
    world.server.lock(ELSEWHERE, key(), Write);
    world.advance(Duration::from_millis(60));
    let reader = world.acquire(key(), Read, Patience::Wait);
    world.settle();
    assert!(!is_granted(&world, reader));
    world.server.leave_queue(ELSEWHERE);
    world.advance(Duration::from_millis(20));
    world.settle();
    assert!(is_granted(&world, reader));
}

#[test]
fn all_readers_join_when_no_session_can_ask() {
    let mut world = world_with(|config| config.max_waiting_sessions = 0);
    let readers: Vec<_> = (0..10).map(|_| world.acquire(key(), Read, Patience::Wait)).collect();
    world.settle();
    assert!(readers.iter().all(|reader| is_granted(&world, *reader)));
}

#[test]
fn a_session_is_opened_to_ask_with_when_there_is_no_other() {
    let mut world = world_without_waiting_sessions();
    let old = world.acquire(key(), Read, Patience::Wait);
    world.settle();
    world.server.lock(ELSEWHERE, key(), Write);
    let mut reader = None;
    for _ in 0..10 {
        world.advance(Duration::from_millis(60));
        reader.get_or_insert_with(|| world.acquire(key(), Read, Patience::Wait));
        world.settle();
    }
    assert_eq!(world.sent.last(), Some(&(SessionId(1), Operation::Probe(key()))));
    let reader = reader.expect("it has come");
    assert!(!is_granted(&world, reader));
    world.release(key(), grant_of(&world, old), false);
    world.settle();
    assert!(world.server.count(ELSEWHERE, key(), Write) > 0);
    world.server.unlock(ELSEWHERE, key(), Write);
    world.advance(Duration::from_secs(1));
    world.settle();
    assert!(is_granted(&world, reader));
}

#[test]
fn a_reader_joins_when_the_session_to_ask_with_cannot_be_opened() {
    let mut world = world_without_waiting_sessions();
    world.acquire(key(), Read, Patience::Wait);
    world.settle();
    world.faulty = true;
    world.advance(Duration::from_millis(60));
    let reader = world.acquire(key(), Read, Patience::Wait);
    world.open_fails(false);
    world.advance(Duration::from_millis(20));
    assert!(is_granted(&world, reader));
}

#[test]
fn a_reader_joins_when_the_session_to_ask_with_takes_long_to_open() {
    let mut world = world_without_waiting_sessions();
    world.acquire(key(), Read, Patience::Wait);
    world.settle();
    world.advance(Duration::from_millis(60));
    let reader = world.acquire(key(), Read, Patience::Wait);
    for _ in 0..3 {
        assert!(!is_granted(&world, reader));
        world.advance(Duration::from_millis(80));
    }
    assert!(is_granted(&world, reader));
}

#[test]
fn a_session_that_answers_a_question_can_be_asked_soon() {
    for looks in [false, true] {
        let mut world = world_with(|config| {
            config.max_shared_sessions = 2;
            config.keys_per_session = 1;
            config.max_waiting_sessions = 0;
        });
        // The first key fills the session that inspections use, as long as there is no room for a
        // second one.
        for number in [8, KEY] {
            world.acquire(LockKey::from(number), Read, Patience::Wait);
            world.settle();
        }
        world.server.lock(ELSEWHERE, key(), Write);
        if looks {
            world.advance(Duration::from_millis(60));
            world.look(None);
        } else {
            world.advance(Duration::from_millis(2500));
        }
        world.turn(SHARED, true);
        assert_eq!(
            world.links[&SHARED].stage,
            if looks { Stage::SentLook } else { Stage::SentHoldings }
        );
        let reader = world.acquire(key(), Read, Patience::Wait);
        assert!(!is_granted(&world, reader));
        world.settle();
        assert!(world.sent.contains(&(SHARED, Operation::Probe(key()))));
        assert!(!is_granted(&world, reader));
    }
}
