//! Failed statements, and locks that are not what they seemed.

use std::error::Error as _;
use std::time::Duration;

use super::{ELSEWHERE, SHARED, WAITING, grant_of, holding, is_granted, key, waiting, world};
use crate::driver::Operation;
use crate::engine::machine::event::{Outcome, Patience};
use crate::engine::machine::tests::model::link::Stage;
use crate::engine::machine::tests::model::turns::refusal;
use crate::error::ErrorKind;
use crate::key::LockKey;
use crate::mode::Mode::{Read, Write};

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
    assert!(matches!(world.outcomes[&not_done], Outcome::Failed(_)));
}

#[test]
fn a_session_closed_in_doubt_reports_the_cause() {
    let (mut world, grant) = holding(Write);
    world.release(key(), grant, true);
    world.turn(SHARED, true);
    world.refuse(SHARED, 0, false);
    world.turn(SHARED, true);
    world.refuse(SHARED, 0, false);
    world.settle();
    let [reason] = &world.losses[..] else { panic!("{:?}", world.losses) };
    assert_eq!(reason.source().expect("there is a cause").to_string(), refusal().to_string());
}

#[test]
fn a_clean_up_in_another_server_session_fails_the_waiter() {
    let (mut world, waiter) = waiting(Write);
    world.refuse(WAITING, 0, false);
    world.turn(WAITING, true);
    assert_eq!(world.links[&WAITING].stage, Stage::Sent(vec![Operation::UnlockAll]));
    world.links.get_mut(&WAITING).unwrap().stage = Stage::Answer(None.into());
    world.turn(WAITING, true);
    let Outcome::Failed(error) = &world.outcomes[&waiter] else { panic!("it did not fail") };
    assert_eq!(error.kind(), ErrorKind::UnsupportedServer);
    world.settle();
}

#[test]
fn an_unlock_is_sent_again_before_the_request_behind_it() {
    let (mut world, grant) = holding(Read);
    world.release(key(), grant, false);
    world.turn(SHARED, true);
    let reader = world.acquire(key(), Read, Patience::Wait);
    world.operator_cancels(SHARED, 0, false);
    world.sent.clear();
    world.settle();
    // In the other order, the session would take the lock again, past a waiting writer.
    let in_order =
        [(SHARED, Operation::Unlock(key(), Read)), (SHARED, Operation::TryLock(key(), Read))];
    assert_eq!(world.sent, in_order);
    assert!(is_granted(&world, reader));
}

#[test]
fn a_release_of_a_lock_that_the_session_does_not_hold_fails() {
    let (mut world, grant) = holding(Write);
    world.faulty = true;
    world.server.unlock_all(world.links[&SHARED].pid);
    let confirm = world.release(key(), grant, true).expect("it was asked for");
    world.settle();
    assert!(matches!(world.outcomes[&confirm], Outcome::Failed(_)));
}

#[test]
fn a_writer_asks_once_the_readers_of_all_sessions_have_released() {
    let (mut world, old) = holding(Read);
    world.server.lock(ELSEWHERE, key(), Write);
    world.advance(Duration::from_millis(60));
    let reader = world.acquire(key(), Read, Patience::Wait);
    world.settle();
    world.server.leave_queue(ELSEWHERE);
    world.settle();
    let new = grant_of(&world, reader);
    world.release(key(), old, false);
    world.release(key(), new, false);
    let writer = world.acquire(key(), Write, Patience::Wait);
    world.settle();
    assert!(is_granted(&world, writer));
}
