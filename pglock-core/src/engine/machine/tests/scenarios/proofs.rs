//! What a guard has the session of its lock do.

use super::{ELSEWHERE, KEY, SHARED, WAITING, grant_of, holding, is_granted, key, run, waiting};
use crate::driver::Operation;
use crate::engine::machine::event::{Outcome, Patience, Proof, SessionId};
use crate::key::LockKey;
use crate::mode::Mode::{Read, Write};

const MARK: LockKey = LockKey::from_u64(1_000_000);

#[test]
fn session_sees_what_another_one_has() {
    let (mut world, grant) = holding(Write);
    for is_taken in [false, true] {
        if is_taken {
            world.server.try_lock(ELSEWHERE, MARK, Write);
        }
        let proof = world.prove(key(), grant, Proof::Sees(MARK));
        world.settle();
        assert!(matches!(world.outcomes[&proof], Outcome::Seen(seen) if seen == is_taken));
    }
}

#[test]
fn proof_is_asked_of_the_session_that_holds_the_lock() {
    let (mut world, waiter) = waiting(Write);
    world.server.unlock(ELSEWHERE, key(), Write);
    world.settle();
    let grant = grant_of(&world, waiter);
    world.sent.clear();
    world.prove(key(), grant, Proof::Sees(MARK));
    world.settle();
    assert_eq!(world.sent, [(WAITING, Operation::Probe(MARK))]);
}

#[test]
fn proofs_at_a_time_share_a_statement_and_keep_their_answers() {
    let (mut world, grant) = holding(Write);
    let other = LockKey::from_u64(1_000_001);
    world.server.try_lock(ELSEWHERE, other, Write);
    let elsewhere = world.acquire(LockKey::from(KEY + 1), Write, Patience::Wait);
    // While that is on its way:
    world.turn(SHARED, true);
    let proofs = [MARK, other, MARK].map(|mark| world.prove(key(), grant, Proof::Sees(mark)));
    world.turn(SHARED, true);
    world.turn(SHARED, true);
    assert!(is_granted(&world, elsewhere));
    let sent = world.sent.split_off(1);
    assert_eq!(sent, [MARK, other, MARK].map(|mark| (SHARED, Operation::Probe(mark))));
    // One leaves before the answer, in which it keeps its place.
    world.abandon(proofs[0], key());
    world.settle();
    assert!(!world.outcomes.contains_key(&proofs[0]));
    assert!(matches!(world.outcomes[&proofs[1]], Outcome::Seen(true)));
    assert!(matches!(world.outcomes[&proofs[2]], Outcome::Seen(false)));
}

#[test]
fn tokens_at_a_time_are_one_token() {
    let (mut world, grant) = holding(Write);
    let proofs = [(); 2].map(|()| world.prove(key(), grant, Proof::Token));
    world.settle();
    let tokens = proofs.map(|proof| match &world.outcomes[&proof] {
        Outcome::Token(token) => *token,
        other => panic!("no token but {other:?}"),
    });
    assert_eq!(tokens[0], tokens[1]);
}

#[test]
fn proof_fails_with_its_session() {
    let (mut world, grant) = holding(Write);
    let proof = world.prove(key(), grant, Proof::Token);
    run(&mut world, SHARED);
    assert!(matches!(world.outcomes[&proof], Outcome::Token(_)));
    let proof = world.prove(key(), grant, Proof::Sees(MARK));
    world.kill(SHARED, true);
    world.settle();
    assert!(matches!(world.outcomes[&proof], Outcome::Failed(_)));
    let proof = world.prove(key(), grant, Proof::Sees(MARK));
    assert!(matches!(world.outcomes[&proof], Outcome::Failed(_)), "the grant has gone");
}

#[test]
fn lock_that_a_cancelled_proof_leaves_is_released_before_anything_else() {
    let (mut world, grant) = holding(Write);
    let proof = world.prove(key(), grant, Proof::Sees(MARK));
    world.turn(SHARED, true);
    // Its caller and the guard go, and another lock is wanted.
    world.abandon(proof, key());
    world.release(key(), grant, false);
    world.operator_cancels(SHARED, 0, true);
    let next = world.acquire(LockKey::from(KEY + 1), Write, Patience::Try);
    world.sent.clear();
    world.settle();
    let released = (SHARED, Operation::Unlock(MARK, Read));
    let place = |sent: &(SessionId, Operation)| world.sent.iter().position(|it| it == sent);
    let tried = (SHARED, Operation::TryLock(LockKey::from(KEY + 1), Write));
    assert!(is_granted(&world, next) && place(&released) < place(&tried), "{:?}", world.sent);
    assert!(place(&released).is_some(), "{:?}", world.sent);
}

#[test]
fn closed_machine_proves_nothing() {
    let (mut world, grant) = holding(Write);
    let proof = world.prove(key(), grant, Proof::Sees(MARK));
    world.close();
    assert!(matches!(world.outcomes[&proof], Outcome::Failed(_)));
    let proof = world.prove(key(), grant, Proof::Sees(MARK));
    assert!(matches!(world.outcomes[&proof], Outcome::Failed(_)));
}

#[test]
fn closing_keeps_the_places_of_proofs_that_are_with_the_server() {
    let (mut world, grant) = holding(Write);
    for _ in 0..2 {
        world.prove(key(), grant, Proof::Sees(MARK));
    }
    world.turn(SHARED, true);
    let released = world.release(key(), grant, true).expect("it is confirmed");
    world.close();
    world.settle();
    assert!(matches!(world.outcomes[&released], Outcome::Released));
}
