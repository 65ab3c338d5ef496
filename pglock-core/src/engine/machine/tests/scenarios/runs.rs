//! Several locks that are tried together.

use super::{ELSEWHERE, SHARED, grant_of, is_granted, world, world_with};
use crate::driver::{Operation, Reason};
use crate::engine::machine::event::{CallerId, Outcome, Patience};
use crate::engine::machine::run::Goal;
use crate::engine::machine::tests::model::world::World;
use crate::error::ErrorKind;
use crate::key::LockKey;
use crate::mode::Mode::{self, Read, Write};

fn wanted<const N: usize>(modes: [Mode; N]) -> [(LockKey, Mode); N] {
    let mut number = 0;
    modes.map(|mode| {
        number += 1;
        (LockKey::from(number), mode)
    })
}

/// A world with a session, which has said nothing yet that matters.
fn open(mut world: World) -> World {
    let waiter = world.acquire(LockKey::from(100), Write, Patience::Wait);
    world.settle();
    let grant = grant_of(&world, waiter);
    world.release(LockKey::from(100), grant, false);
    world.settle();
    world.sent.clear();
    world.statements = [0; 2];
    world
}

/// What has become of them: taken (+), busy (-), left out (.) or failed (!).
fn fates(world: &World, waiters: &[CallerId]) -> String {
    let fate = |waiter: &CallerId| match &world.outcomes[waiter] {
        Outcome::Granted { .. } => '+',
        Outcome::Busy => '-',
        Outcome::Skipped => '.',
        Outcome::Failed(_) => '!',
        other => panic!("{other:?}"),
    };
    waiters.iter().map(fate).collect()
}

#[test]
fn free_locks_are_taken_in_one_statement() {
    let mut world = open(world());
    let wanted = wanted([Write, Read, Write]);
    let waiters = world.acquire_run(&wanted, Goal::All);
    world.settle();
    assert_eq!(fates(&world, &waiters), "+++");
    let [first, second, third] = wanted;
    let run = [
        Operation::TryFirst(first.0, first.1),
        Operation::TryAlso(second.0, second.1),
        Operation::TryAlso(third.0, third.1),
    ];
    assert_eq!(world.sent, run.map(|operation| (SHARED, operation)));
    assert_eq!(world.statements, [0, 1]);
}

#[test]
fn nothing_behind_a_busy_lock_is_taken() {
    let mut world = open(world());
    let wanted = wanted([Write; 4]);
    world.server.try_lock(ELSEWHERE, wanted[1].0, Read);
    let waiters = world.acquire_run(&wanted, Goal::All);
    world.settle();
    assert_eq!(fates(&world, &waiters), "+-..");
    assert_eq!(world.statements, [0, 1]);
    assert_eq!(world.machine.keys.len(), 1, "of the others nothing is left");
}

#[test]
fn first_free_lock_is_taken_and_no_other() {
    let mut world = open(world());
    let wanted = wanted([Write; 4]);
    world.server.try_lock(ELSEWHERE, wanted[0].0, Write);
    let waiters = world.acquire_run(&wanted, Goal::Any);
    world.settle();
    assert_eq!(fates(&world, &waiters), "-+..");
    assert_eq!(world.statements, [0, 1]);
    assert!(world.server.try_lock(ELSEWHERE, wanted[2].0, Write));
}

#[test]
fn locks_that_are_had_here_are_taken_on_the_way() {
    let mut world = open(world());
    let wanted = wanted([Read, Write]);
    let reader = world.acquire(wanted[0].0, Read, Patience::Wait);
    world.settle();
    world.sent.clear();
    let waiters = world.acquire_run(&wanted, Goal::All);
    assert_eq!(grant_of(&world, waiters[0]), grant_of(&world, reader));
    world.settle();
    assert_eq!(fates(&world, &waiters), "++");
    assert_eq!(world.sent, [(SHARED, Operation::TryLock(wanted[1].0, Write))]);
}

#[test]
fn run_ends_before_a_key_that_is_used_here() {
    let mut world = open(world());
    let wanted = wanted([Write, Read, Write]);
    world.acquire(wanted[1].0, Read, Patience::Wait);
    world.settle();
    let waiters = world.acquire_run(&wanted, Goal::All);
    world.settle();
    // It would be had whatever becomes of the first.
    assert_eq!(fates(&world, &waiters), "+..");
}

#[test]
fn caller_behind_one_that_was_left_out_gets_the_lock() {
    let mut world = open(world());
    let wanted = wanted([Write; 2]);
    world.server.try_lock(ELSEWHERE, wanted[0].0, Write);
    let waiters = world.acquire_run(&wanted, Goal::All);
    let behind = world.acquire(wanted[1].0, Write, Patience::Try);
    world.settle();
    assert_eq!(fates(&world, &waiters), "-.");
    assert!(is_granted(&world, behind));
}

#[test]
fn tries_beyond_one_statement_are_left_out() {
    let mut world = open(world_with(|config| config.batch = 2));
    let wanted = wanted([Write; 4]);
    let waiters = world.acquire_run(&wanted, Goal::All);
    world.settle();
    assert_eq!(fates(&world, &waiters), "++..");
    assert_eq!(world.statements, [0, 1]);
}

#[test]
fn run_of_a_session_that_ends_is_left_out() {
    let mut world = open(world());
    let wanted = wanted([Write; 3]);
    let waiters = world.acquire_run(&wanted, Goal::All);
    world.kill(SHARED, false);
    world.settle();
    assert_eq!(fates(&world, &waiters), "...");
    assert_eq!(world.machine.keys.len(), 0);
}

#[test]
fn refused_try_ends_the_run() {
    let mut world = open(world());
    let wanted = wanted([Write; 4]);
    world.refuse_key(Some(wanted[2].0), Reason::Itself);
    let waiters = world.acquire_run(&wanted, Goal::All);
    world.settle();
    assert_eq!(fates(&world, &waiters), "++..");
}

#[test]
fn rest_of_a_cancelled_run_is_not_sent_again() {
    let mut world = open(world());
    let wanted = wanted([Write; 3]);
    let waiters = world.acquire_run(&wanted, Goal::Any);
    let behind = world.acquire(wanted[1].0, Write, Patience::Try);
    world.turn(SHARED, true);
    world.operator_cancels(SHARED, 1, false);
    world.settle();
    assert_eq!(fates(&world, &waiters), "+..");
    assert!(is_granted(&world, behind));
}

#[test]
fn two_runs_in_one_statement_do_not_depend_on_each_other() {
    let mut world = open(world());
    let [first, second, third, fourth] = wanted([Write; 4]);
    world.server.try_lock(ELSEWHERE, first.0, Write);
    let busy = world.acquire_run(&[first, second], Goal::All);
    let free = world.acquire_run(&[third, fourth], Goal::All);
    world.settle();
    assert_eq!((fates(&world, &busy), fates(&world, &free)), ("-.".into(), "++".into()));
    assert_eq!(world.statements, [0, 1]);
}

#[test]
fn run_without_room_takes_nothing() {
    let mut world = open(world_with(|config| config.max_locks = Some(2)));
    let wanted = wanted([Write; 3]);
    let waiters = world.acquire_run(&wanted, Goal::All);
    world.settle();
    assert_eq!(fates(&world, &waiters), "!!!");
    let Outcome::Failed(error) = &world.outcomes[&waiters[0]] else { panic!("it failed") };
    assert_eq!(error.kind(), ErrorKind::LockTableFull);
    assert_eq!(world.sent, []);
    // One of them would fit.
    let waiters = world.acquire_run(&wanted, Goal::Any);
    world.settle();
    assert_eq!(fates(&world, &waiters), "+..");
}

#[test]
fn run_that_was_abandoned_leaves_nothing() {
    let mut world = open(world());
    let wanted = wanted([Write; 3]);
    for sent in [false, true] {
        let waiters = world.acquire_run(&wanted, Goal::All);
        if sent {
            world.turn(SHARED, true);
        }
        for (waiter, (key, _)) in waiters.iter().zip(wanted) {
            world.abandon(*waiter, key);
        }
        world.settle();
        assert_eq!(world.server.rows(), []);
    }
}
