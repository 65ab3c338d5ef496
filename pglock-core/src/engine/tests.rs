//! What happens, scenario by scenario. `model` checks the same machine at random.

use std::ops::Range;
use std::time::Duration;

use super::event::{HoldId, Outcome, Patience, SessionId, WaiterId};
use super::limits::Limits;
use super::model::world::{Link, REMOTE, Stage, World};
use crate::driver::{Holding, Operation};
use crate::key::LockKey;
use crate::mode::Mode::{Read, Write};

const KEY: i64 = 7;
/// The session that a first acquire opens, and the next one: to wait in, in these tests.
const SHARED: SessionId = SessionId(0);
const WAITING: SessionId = SessionId(1);
const ELSEWHERE: i32 = REMOTE[0];

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
    let (mut world, hold) = holding(Write);
    let next = world.acquire(key(), Write, Patience::Wait);
    world.release(key(), hold, false);
    assert!(is_granted(&world, next));
    assert_eq!(world.sent, []);
}

#[test]
fn a_release_of_a_lock_that_passes_on_is_confirmed_by_what_is_answered_afterwards() {
    let (mut world, hold) = holding(Write);
    let elsewhere = world.acquire(LockKey::from(KEY + 1), Write, Patience::Wait);
    world.turn(SHARED, true);
    let next = world.acquire(key(), Write, Patience::Wait);
    let confirm = world.release(key(), hold, true).unwrap();
    assert!(is_granted(&world, next));
    world.turn(SHARED, true);
    world.turn(SHARED, true);
    assert!(is_granted(&world, elsewhere));
    assert!(!world.outcomes.contains_key(&confirm.0), "that was asked before the release");
    world.settle();
    assert_eq!(world.sent.last(), Some(&(SHARED, Operation::Ping)));
    assert!(matches!(world.outcomes[&confirm.0], Outcome::Released));
}

#[test]
fn a_release_of_a_lock_that_passes_on_is_no_success_if_the_session_has_ended() {
    let (mut world, hold) = holding(Write);
    let next = world.acquire(key(), Write, Patience::Wait);
    world.kill(SHARED, false);
    let confirm = world.release(key(), hold, true).unwrap();
    assert!(is_granted(&world, next), "nobody knows yet");
    world.settle();
    assert!(matches!(world.outcomes[&confirm.0], Outcome::Failed(_)));
}

#[test]
fn a_lock_goes_back_to_the_server_after_so_many_hand_overs() {
    let (mut world, mut hold) = holding(Write);
    let waiters: Vec<_> = (0..4).map(|_| world.acquire(key(), Write, Patience::Wait)).collect();
    for waiter in &waiters[..2] {
        world.release(key(), hold, false);
        hold = hold_of(&world, *waiter);
    }
    world.release(key(), hold, false);
    assert!(!is_granted(&world, waiters[2]));
    world.settle();
    let there_and_back =
        [(SHARED, Operation::Unlock(key(), Write)), (SHARED, Operation::TryLock(key(), Write))];
    assert_eq!(world.sent, there_and_back);
    assert!(is_granted(&world, waiters[2]));
}

#[test]
fn a_busy_lock_is_waited_for_in_the_queue_of_the_server() {
    let (mut world, waiter) = waiting(Write);
    assert_eq!(world.sent.last(), Some(&(WAITING, Operation::Lock(key(), Write))));
    world.server.unlock(ELSEWHERE, key(), Write);
    world.settle();
    assert!(is_granted(&world, waiter));
}

#[test]
fn a_caller_who_would_not_wait_is_refused_when_another_process_holds_the_lock() {
    let mut world = world();
    world.server.try_lock(ELSEWHERE, key(), Read);
    let writer = world.acquire(key(), Write, Patience::Try);
    let reader = world.acquire(key(), Read, Patience::Try);
    world.settle();
    assert!(matches!(world.outcomes[&writer.0], Outcome::Busy));
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
fn a_long_wait_goes_on() {
    let (mut world, waiter) = waiting(Write);
    pass(&mut world, 60);
    assert!(world.server.is_waiting(world.links[&WAITING].pid));
    world.server.unlock(ELSEWHERE, key(), Write);
    world.settle();
    assert!(is_granted(&world, waiter));
}

/// Lets the heartbeats go on.
fn pass(world: &mut World, seconds: u64) {
    for _ in 0..seconds {
        world.advance(Duration::from_secs(1));
        world.settle();
    }
}

#[test]
fn an_abandoned_waiter_is_cancelled_at_the_server() {
    let (mut world, waiter) = waiting(Write);
    world.abandon(waiter, key());
    world.settle();
    assert!(!world.server.is_waiting(world.links[&WAITING].pid));
    assert!(world.state.entries.is_empty());
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
fn a_wait_that_is_granted_while_it_is_cancelled_is_given_back() {
    let (mut world, waiter) = waiting(Write);
    world.abandon(waiter, key());
    world.server.unlock(ELSEWHERE, key(), Write);
    world.turn(WAITING, false);
    world.settle();
    assert_eq!(world.sent.last(), Some(&(WAITING, Operation::Unlock(key(), Write))));
    world.drain();
}

#[test]
fn a_wait_that_fails_though_it_was_granted_is_followed_by_the_release_of_everything() {
    let (mut world, waiter) = waiting(Write);
    world.server.unlock(ELSEWHERE, key(), Write);
    world.refuse(WAITING, 0, false);
    world.settle();
    assert_eq!(world.sent.last(), Some(&(WAITING, Operation::UnlockAll)));
    assert!(matches!(world.outcomes[&waiter.0], Outcome::Failed(_)));
    assert_eq!(world.server.holdings(world.links[&WAITING].pid), []);
}

#[test]
fn a_failed_statement_is_settled_by_what_the_session_holds() {
    let mut world = world();
    let done = world.acquire(key(), Write, Patience::Wait);
    let not_done = world.acquire(LockKey::from(8), Write, Patience::Wait);
    world.turn(SHARED, true);
    world.refuse(SHARED, 1, false);
    world.turn(SHARED, true);
    assert_eq!(world.links[&SHARED].stage, Stage::SentHoldings);
    world.settle();
    assert!(is_granted(&world, done));
    assert!(matches!(world.outcomes[&not_done.0], Outcome::Failed(_)));
}

#[test]
fn an_unlock_is_sent_again_before_what_was_asked_behind_it() {
    let (mut world, hold) = holding(Read);
    world.release(key(), hold, false);
    world.turn(SHARED, true);
    let reader = world.acquire(key(), Read, Patience::Wait);
    world.refuse(SHARED, 0, false);
    world.sent.clear();
    world.settle();
    // In the other order the session would take the lock once more, past a writer who waits.
    let in_order =
        [(SHARED, Operation::Unlock(key(), Read)), (SHARED, Operation::TryLock(key(), Read))];
    assert_eq!(world.sent, in_order);
    assert!(is_granted(&world, reader));
}

#[test]
fn a_release_of_a_lock_that_the_session_does_not_hold_is_no_success() {
    let (mut world, hold) = holding(Write);
    world.faulty = true;
    world.server.unlock_all(world.links[&SHARED].pid);
    let confirm = world.release(key(), hold, true).expect("it was asked for");
    world.settle();
    assert!(matches!(world.outcomes[&confirm.0], Outcome::Failed(_)));
}

#[test]
fn a_writer_asks_when_the_readers_of_every_session_have_given_the_lock_back() {
    let (mut world, old) = holding(Read);
    world.server.lock(ELSEWHERE, key(), Write);
    world.advance(Duration::from_millis(60));
    let reader = world.acquire(key(), Read, Patience::Wait);
    world.settle();
    world.server.leave_queue(ELSEWHERE);
    world.settle();
    let new = hold_of(&world, reader);
    world.release(key(), old, false);
    world.release(key(), new, false);
    let writer = world.acquire(key(), Write, Patience::Wait);
    world.settle();
    assert!(is_granted(&world, writer));
}

#[test]
fn a_reader_waits_for_a_read_lock_of_its_own() {
    let (mut world, hold) = holding(Write);
    let reader = world.acquire(key(), Read, Patience::Wait);
    world.release(key(), hold, false);
    assert!(!is_granted(&world, reader));
    world.settle();
    assert!(is_granted(&world, reader));
    let there_and_back =
        [(SHARED, Operation::Unlock(key(), Write)), (SHARED, Operation::TryLock(key(), Read))];
    assert_eq!(world.sent, there_and_back);
}

#[test]
fn readers_and_writers_pass_on_a_write_lock_without_a_request() {
    let (mut world, first) = sharing();
    let reader = world.acquire(key(), Read, Patience::Wait);
    let writer = world.acquire(key(), Write, Patience::Wait);
    world.release(key(), first, false);
    let reader = hold_of(&world, reader);
    assert!(!is_granted(&world, writer));
    world.release(key(), reader, false);
    world.settle();
    assert!(is_granted(&world, writer));
    assert_eq!(world.sent, []);
}

#[test]
fn readers_elsewhere_come_in_when_no_writer_here_waits() {
    let (mut world, hold) = sharing();
    let reader = world.acquire(key(), Read, Patience::Wait);
    world.release(key(), hold, false);
    assert!(is_granted(&world, reader));
    world.settle();
    assert_eq!(world.sent, [(SHARED, Operation::Downgrade(key()))]);
    assert!(world.server.try_lock(ELSEWHERE, key(), Read));
}

/// Readers here, with a writer here waiting for them.
fn reading_before_a_writer() -> (World, HoldId, WaiterId) {
    let (mut world, hold) = sharing();
    let reader = world.acquire(key(), Read, Patience::Wait);
    let writer = world.acquire(key(), Write, Patience::Wait);
    world.release(key(), hold, false);
    world.settle();
    assert_eq!(world.sent, []);
    let reader = hold_of(&world, reader);
    (world, reader, writer)
}

#[test]
fn readers_elsewhere_come_in_after_a_while_though_a_writer_here_waits() {
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
fn readers_here_keep_their_lock_though_a_writer_elsewhere_waits() {
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
    let (mut world, hold) = sharing();
    let reader = world.acquire(key(), Read, Patience::Wait);
    world.release(key(), hold, false);
    let writer = world.acquire(key(), Write, Patience::Wait);
    world.settle();
    let reader = hold_of(&world, reader);
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
fn an_unlock_behind_a_downgrade_gives_back_the_read_lock() {
    let (mut world, hold) = sharing();
    let reader = world.acquire(key(), Read, Patience::Wait);
    world.release(key(), hold, false);
    let reader = hold_of(&world, reader);
    world.turn(SHARED, true);
    let confirm = world.release(key(), reader, true).unwrap();
    world.settle();
    assert!(matches!(world.outcomes[&confirm.0], Outcome::Released));
    let then = [(SHARED, Operation::Downgrade(key())), (SHARED, Operation::Unlock(key(), Read))];
    assert_eq!(world.sent, then);
    assert_eq!(world.server.holdings(world.links[&SHARED].pid), []);
}

#[test]
fn a_downgrade_that_fails_is_made_up_for() {
    for (done, half) in [(0, false), (0, true), (1, false)] {
        let (mut world, hold) = sharing();
        let reader = world.acquire(key(), Read, Patience::Wait);
        world.release(key(), hold, false);
        let reader = hold_of(&world, reader);
        world.turn(SHARED, true);
        world.refuse(SHARED, done, half);
        world.settle();
        world.advance(Duration::from_millis(50));
        world.settle();
        let shared = Holding { key: key(), mode: Read };
        assert_eq!(world.server.holdings(world.links[&SHARED].pid), [shared]);
        let confirm = world.release(key(), reader, true).unwrap();
        world.settle();
        assert!(matches!(world.outcomes[&confirm.0], Outcome::Released));
        world.drain();
    }
}

#[test]
fn a_reader_asks_whether_a_writer_waits_before_it_joins_an_old_hold() {
    let (mut world, _) = holding(Read);
    world.advance(Duration::from_millis(60));
    let reader = world.acquire(key(), Read, Patience::Wait);
    world.settle();
    assert_eq!(world.sent, [(WAITING, Operation::Probe(key()))]);
    assert!(is_granted(&world, reader));
}

#[test]
fn a_reader_waits_behind_a_writer_of_another_process() {
    let (mut world, hold) = holding(Read);
    world.server.lock(ELSEWHERE, key(), Write);
    world.advance(Duration::from_millis(60));
    let reader = world.acquire(key(), Read, Patience::Wait);
    world.settle();
    world.release(key(), hold, false);
    world.settle();
    assert!(!is_granted(&world, reader));
    world.server.unlock(ELSEWHERE, key(), Write);
    world.settle();
    assert!(is_granted(&world, reader));
}

#[test]
fn a_reader_who_would_not_wait_is_not_refused_by_what_was_asked_before_it_came() {
    let (mut world, _) = holding(Read);
    world.server.lock(ELSEWHERE, key(), Write);
    world.advance(Duration::from_millis(60));
    let early = world.acquire(key(), Read, Patience::Try);
    // Connects, asks, and has been answered: the answer is on its way.
    (0..2).for_each(|_| world.turn(WAITING, true));
    assert!(matches!(world.links[&WAITING].stage, Stage::Answer(_)));
    world.server.leave_queue(ELSEWHERE);
    let late = [(); 2].map(|()| world.acquire(key(), Read, Patience::Try));
    world.settle();
    assert!(matches!(world.outcomes[&early.0], Outcome::Busy));
    assert!(late.iter().all(|reader| is_granted(&world, *reader)));
}

#[test]
fn a_reader_is_let_in_when_the_writer_elsewhere_gives_up() {
    // No session is left to wait in, so that the reader has to find out by itself.
    let mut world = world_with(|limits| {
        limits.shared_sessions = 2;
        limits.keys_per_session = 1;
        limits.waiting_sessions = 0;
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
fn all_readers_join_when_nobody_can_be_asked() {
    let mut world = world_with(|limits| limits.waiting_sessions = 0);
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
    world.release(key(), hold_of(&world, old), false);
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
        let mut world = world_with(|limits| {
            limits.shared_sessions = 2;
            limits.keys_per_session = 1;
            limits.waiting_sessions = 0;
        });
        // The first key fills the session that looks go to, as long as there is no room for a second one.
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

#[test]
fn a_reader_tries_for_itself_when_the_writer_before_it_goes() {
    let mut world = world_with(|limits| limits.waiting_sessions = 0);
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
    assert!(matches!(world.outcomes[&writer.0], Outcome::Busy));
    assert!(is_granted(&world, reader));
}

#[test]
fn the_end_of_a_session_loses_its_guards_and_asks_again_for_those_who_wait() {
    let (mut world, hold) = holding(Write);
    let next = world.acquire(key(), Write, Patience::Wait);
    world.kill(SHARED, false);
    world.settle();
    assert!(world.reference.guards()[0].1.lost);
    assert!(is_granted(&world, next));
    let confirm = world.release(key(), hold, true).expect("it was asked for");
    assert!(matches!(world.outcomes[&confirm.0], Outcome::Failed(_)));
}

#[test]
fn a_promotion_loses_older_guards_and_asks_again_for_those_who_wait() {
    let (mut world, _) = holding(Write);
    world.server.try_lock(ELSEWHERE, 8.into(), Write);
    let waiter = world.acquire(8.into(), Write, Patience::Wait);
    run(&mut world, SHARED);
    // On its way to the old server when the new one is seen.
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
fn closing_resolves_everybody() {
    let (mut world, _) = waiting(Write);
    world.acquire(LockKey::from(8), Read, Patience::Wait);
    world.settle();
    world.close();
    assert_eq!(world.reference.unresolved(), []);
    assert!(world.reference.guards().iter().all(|(_, guard)| guard.lost));
    world.settle();
    assert!(world.state.is_finished());
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
    assert!(world.state.is_finished());
    assert_eq!(world.opened(), 2);
}

#[test]
fn closing_gives_up_waits_though_their_canceller_is_not_connected() {
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
    assert!(world.state.is_finished());
}

#[test]
fn everything_is_given_back_only_when_the_cancel_has_been_answered() {
    let (mut world, waiter) = waiting(Write);
    world.abandon(waiter, key());
    world.turn(SHARED, true);
    world.turn(SHARED, true);
    // The wait has failed by the cancel, whose own answer is still on its way.
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
    // The cancel was carried out, but that is never told.
    world.cut(SHARED);
    world.settle();
    assert!(!world.links.contains_key(&WAITING));
}

#[test]
fn a_release_is_confirmed_though_a_late_cancel_may_hit_the_session() {
    let (mut world, waiter) = waiting(Write);
    world.abandon(waiter, key());
    let next = world.acquire(key(), Write, Patience::Wait);
    world.turn(SHARED, true);
    world.server.unlock(ELSEWHERE, key(), Write);
    world.turn(WAITING, false);
    world.cut(SHARED);
    world.turn(SHARED, false);
    let hold = hold_of(&world, next);
    let confirm = world.release(key(), hold, true).expect("it was asked for");
    world.settle();
    assert!(matches!(world.outcomes[&confirm.0], Outcome::Released));
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
    assert!(world.state.entries.is_empty());
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
fn a_waiting_session_that_cannot_be_opened_is_tried_again() {
    let mut world = world();
    world.server.try_lock(ELSEWHERE, key(), Write);
    world.acquire(key(), Write, Patience::Wait);
    run(&mut world, SHARED);
    world.open_fails(false);
    for _ in 0..4 {
        world.advance(Duration::from_millis(100));
        world.settle();
    }
    let is_waiting = |link: &Link| link.stage == Stage::Waiting;
    assert!(world.links.values().any(is_waiting));
}

/// A caller for a key that is held elsewhere.
fn wait_and_give_up(world: &mut World) {
    let waiter = world.acquire(key(), Write, Patience::Wait);
    world.settle();
    world.abandon(waiter, key());
    world.settle();
}

#[test]
fn a_key_that_wants_no_session_any_more_leaves_the_line() {
    let mut world = world_with(|limits| limits.waiting_sessions = 0);
    world.server.try_lock(ELSEWHERE, key(), Write);
    for _ in 0..3 {
        wait_and_give_up(&mut world);
    }
    assert!(world.state.sessions.line.is_empty());
}

#[test]
fn a_free_waiting_session_is_used_before_another_one_is_opened() {
    let mut world = world_with(|limits| limits.waiting_sessions = 2);
    world.server.try_lock(ELSEWHERE, key(), Write);
    for _ in 0..3 {
        wait_and_give_up(&mut world);
    }
    assert_eq!(world.links.len(), 2);
}

#[test]
fn a_waiting_session_is_given_on_when_nobody_wants_its_answer_any_more() {
    let mut world = world_with(|limits| limits.hand_over_count = 0);
    world.server.try_lock(ELSEWHERE, key(), Write);
    wait_and_give_up(&mut world);
    world.server.unlock(ELSEWHERE, key(), Write);
    let keys = [key(), LockKey::from(KEY + 1)];
    let joining = keys.map(|key| {
        world.acquire(key, Read, Patience::Wait);
        world.acquire(key, Read, Patience::Wait)
    });
    for _ in 0..3 {
        world.turn(SHARED, true);
    }
    assert_eq!(world.state.sessions.line.len(), 1, "the session goes to one of the two");
    world.abandon(joining[0], keys[0]);
    world.settle();
    assert!(is_granted(&world, joining[1]));
}

#[test]
fn a_crowded_session_gets_one_more_beside_it() {
    let mut world = world_with(|limits| {
        limits.shared_sessions = 4;
        limits.crowd = 2;
    });
    let acquire = |world: &mut World, numbers: Range<i64>| {
        for number in numbers {
            world.acquire(LockKey::from(number), Write, Patience::Wait);
        }
    };
    acquire(&mut world, 0..1);
    world.settle();
    acquire(&mut world, 1..4);
    let company = SessionId(1);
    assert_eq!(world.links[&company].stage, Stage::Connecting, "two are queued, and one comes");
    // Nobody waits for it to be connected.
    acquire(&mut world, 4..6);
    let queued = |world: &World, id| world.state.sessions.get(id).unwrap().outbox.len();
    assert_eq!((queued(&world, SHARED), queued(&world, company)), (5, 0));
    world.settle();
    acquire(&mut world, 6..20);
    assert_eq!((queued(&world, SHARED), queued(&world, company)), (7, 7));
    world.settle();
    assert_eq!(world.links.len(), 2, "two sides cannot do more than two things at a time");
}

#[test]
fn a_second_session_that_cannot_be_opened_is_no_outage() {
    let mut world = world_with(|limits| {
        limits.shared_sessions = 2;
        limits.crowd = 1;
    });
    let seconds = world.state.sessions.limits.reconnect_timeout.as_secs();
    for number in 0..=seconds as i64 {
        for key in [2 * number, 2 * number + 1] {
            world.acquire(LockKey::from(key), Write, Patience::Wait);
        }
        if number > 0 {
            world.open_fails(false);
        }
        pass(&mut world, 1);
    }
    world.kill(SHARED, false);
    world.turn(SHARED, false);
    world.advance(Duration::from_secs(1));
    let waiter = world.acquire(key(), Write, Patience::Wait);
    world.open_fails(false);
    assert!(!world.outcomes.contains_key(&waiter.0), "the only session has just ended");
    pass(&mut world, 1);
    assert!(is_granted(&world, waiter));
}

#[test]
fn of_idle_shared_sessions_one_is_kept() {
    let mut world = world_with(|limits| {
        limits.shared_sessions = 2;
        limits.keys_per_session = 1;
    });
    let waiters: Vec<_> = [KEY, KEY + 1]
        .map(|number| (LockKey::from(number), world.acquire(number.into(), Write, Patience::Wait)))
        .into();
    world.settle();
    for (key, waiter) in waiters {
        world.release(key, hold_of(&world, waiter), false);
    }
    world.settle();
    assert_eq!(world.links.len(), 2);
    for _ in 0..40 {
        world.advance(Duration::from_secs(1));
        world.settle();
    }
    assert_eq!(world.links.len(), 1);
}

#[test]
fn an_idle_waiting_session_is_closed_after_a_while() {
    let (mut world, waiter) = waiting(Write);
    world.abandon(waiter, key());
    world.settle();
    world.advance(Duration::from_secs(29));
    // Wanted once more, but not for long enough to be used.
    let waiter = world.acquire(key(), Write, Patience::Wait);
    run(&mut world, SHARED);
    world.advance(Duration::from_secs(2));
    world.abandon(waiter, key());
    world.settle();
    world.advance(Duration::from_secs(31));
    world.settle();
    assert!(!world.links.contains_key(&WAITING));
}

#[test]
fn a_session_is_asked_what_it_holds_at_every_heartbeat() {
    let (mut world, _) = holding(Write);
    for _ in 0..20 {
        world.advance(Limits::default().lease.heartbeat);
        world.turn(SHARED, true);
        assert_eq!(world.links[&SHARED].stage, Stage::SentHoldings);
        world.settle();
    }
}

#[test]
fn an_idle_waiting_session_is_closed_though_its_heartbeat_is_on_the_way_when_it_is_due() {
    let (mut world, waiter) = waiting(Write);
    let (shift, heartbeat) = (Duration::from_millis(100), Duration::from_millis(2500));
    world.advance(shift);
    world.abandon(waiter, key());
    world.settle();
    world.advance(heartbeat - shift);
    for _ in 1..12 {
        world.settle();
        world.advance(heartbeat);
    }
    world.turn(WAITING, true);
    assert_eq!(world.links[&WAITING].stage, Stage::SentHoldings);
    world.advance(shift);
    world.settle();
    world.advance(Duration::from_secs(1));
    world.settle();
    assert!(!world.links.contains_key(&WAITING));
}

fn key() -> LockKey {
    LockKey::from(KEY)
}

fn world() -> World {
    world_with(|_| {})
}

/// Nor is a second shared one there before it is needed.
fn world_without_waiting_sessions() -> World {
    world_with(|limits| {
        limits.shared_sessions = 2;
        limits.waiting_sessions = 0;
    })
}

fn world_with(change: impl FnOnce(&mut Limits)) -> World {
    let mut limits =
        Limits { shared_sessions: 1, waiting_sessions: 1, hand_over_count: 2, ..Limits::default() };
    change(&mut limits);
    World::new(limits, vec![key()], 1)
}

/// A world in which a caller here holds the lock.
fn holding(mode: crate::Mode) -> (World, HoldId) {
    holding_in(world(), mode)
}

/// A writer here holds the lock, which readers here may have then.
fn sharing() -> (World, HoldId) {
    holding_in(world_with(|limits| limits.share_write_locks = true), Write)
}

fn holding_in(mut world: World, mode: crate::Mode) -> (World, HoldId) {
    let waiter = world.acquire(key(), mode, Patience::Wait);
    world.settle();
    world.sent.clear();
    let hold = hold_of(&world, waiter);
    (world, hold)
}

/// A world in which a caller here waits at the server for the lock, which a writer of another process holds.
fn waiting(mode: crate::Mode) -> (World, WaiterId) {
    let mut world = world();
    world.server.try_lock(ELSEWHERE, key(), Write);
    let waiter = world.acquire(key(), mode, Patience::Wait);
    world.settle();
    assert!(world.server.is_waiting(world.links[&WAITING].pid));
    (world, waiter)
}

/// Lets one session do what it can.
fn run(world: &mut World, id: SessionId) {
    while world.movable().contains(&id) {
        world.turn(id, true);
    }
}

fn hold_of(world: &World, waiter: WaiterId) -> HoldId {
    match &world.outcomes[&waiter.0] {
        Outcome::Granted { hold, .. } => *hold,
        other => panic!("not granted but {other:?}"),
    }
}

fn is_granted(world: &World, waiter: WaiterId) -> bool {
    matches!(world.outcomes.get(&waiter.0), Some(Outcome::Granted { .. }))
}
