//! Guards that change their mode.

use std::time::Duration;

use super::{ELSEWHERE, SHARED, WAITING, grant_of, holding, is_granted, key, run};
use crate::driver::{Operation, Reason};
use crate::engine::machine::event::{Outcome, Patience};
use crate::engine::machine::tests::model::world::REMOTE;
use crate::mode::Mode::{Read, Write};

#[test]
fn writer_that_becomes_a_reader_lets_readers_elsewhere_in() {
    let (mut world, grant) = holding(Write);
    world.downgrade(key(), grant);
    world.settle();
    assert_eq!(world.sent, [(SHARED, Operation::Downgrade(key()))]);
    assert!(world.server.try_lock(ELSEWHERE, key(), Read));
}

#[test]
fn reader_here_joins_a_writer_that_becomes_a_reader() {
    let (mut world, grant) = holding(Write);
    let reader = world.acquire(key(), Read, Patience::Wait);
    let writer = world.acquire(key(), Write, Patience::Wait);
    world.downgrade(key(), grant);
    assert!(is_granted(&world, reader) && !is_granted(&world, writer));
    world.settle();
    assert_eq!(world.sent, [(SHARED, Operation::Downgrade(key()))]);
    for grant in [grant, grant_of(&world, reader)] {
        world.release(key(), grant, false);
    }
    world.settle();
    assert!(is_granted(&world, writer));
}

#[test]
fn only_reader_becomes_a_writer_though_others_wait() {
    let (mut world, grant) = holding(Read);
    world.server.lock(ELSEWHERE, key(), Write);
    let writer = world.acquire(key(), Write, Patience::Wait);
    let upgrade = world.upgrade(key(), grant, Patience::Try);
    world.settle();
    assert_eq!(world.sent, [(SHARED, Operation::Upgrade(key()))]);
    assert!(matches!(world.outcomes[&upgrade], Outcome::Upgraded));
    assert!(world.server.is_waiting(ELSEWHERE) && !is_granted(&world, writer));
}

#[test]
fn reader_beside_another_one_here_stays_a_reader_without_a_request() {
    let (mut world, grant) = holding(Read);
    let other = world.acquire(key(), Read, Patience::Wait);
    assert!(is_granted(&world, other));
    let upgrade = world.upgrade(key(), grant, Patience::Try);
    assert!(matches!(world.outcomes[&upgrade], Outcome::Busy));
    world.settle();
    assert_eq!(world.sent, []);
}

#[test]
fn reader_beside_another_one_elsewhere_stays_a_reader() {
    let (mut world, grant) = holding(Read);
    world.server.try_lock(ELSEWHERE, key(), Read);
    let upgrade = world.upgrade(key(), grant, Patience::Try);
    let reader = world.acquire(key(), Read, Patience::Wait);
    assert!(!is_granted(&world, reader));
    world.settle();
    assert!(matches!(world.outcomes[&upgrade], Outcome::Busy));
    assert!(is_granted(&world, reader));
}

#[test]
fn upgrade_that_is_left_on_its_way_ends_as_a_read_lock() {
    let (mut world, grant) = holding(Read);
    let upgrade = world.upgrade(key(), grant, Patience::Try);
    // It is sent, and done.
    world.turn(SHARED, true);
    world.turn(SHARED, true);
    world.abandon(upgrade, key());
    world.settle();
    let there_and_back =
        [(SHARED, Operation::Upgrade(key())), (SHARED, Operation::Downgrade(key()))];
    assert_eq!(world.sent, there_and_back);
    assert!(world.server.try_lock(ELSEWHERE, key(), Read));
}

#[test]
fn writer_that_was_a_reader_a_moment_ago_asks_for_nothing() {
    let (mut world, grant) = holding(Write);
    world.downgrade(key(), grant);
    let upgrade = world.upgrade(key(), grant, Patience::Try);
    assert!(matches!(world.outcomes[&upgrade], Outcome::Upgraded));
    world.settle();
    assert_eq!(world.sent, []);
}

#[test]
fn upgrade_that_ends_in_its_middle_is_done() {
    let (mut world, grant) = holding(Read);
    let upgrade = world.upgrade(key(), grant, Patience::Try);
    world.turn(SHARED, true);
    // The session has both locks then.
    world.faulty = true;
    world.refuse_for(SHARED, 0, true, Reason::Itself);
    world.settle();
    assert!(matches!(world.outcomes[&upgrade], Outcome::Upgraded));
    let then = [(SHARED, Operation::Upgrade(key())), (SHARED, Operation::Unlock(key(), Read))];
    assert_eq!(world.sent, then);
}

#[test]
fn upgrade_that_waits_keeps_later_readers_out_and_is_repeated() {
    let (mut world, grant) = holding(Read);
    world.server.try_lock(ELSEWHERE, key(), Read);
    let upgrade = world.upgrade(key(), grant, Patience::Wait);
    world.settle();
    let waits = [(SHARED, Operation::Upgrade(key())), (WAITING, Operation::Lock(key(), Write))];
    assert_eq!(world.sent, waits);
    assert!(!world.server.try_lock(REMOTE[1], key(), Read));
    world.sent.clear();
    world.server.unlock(ELSEWHERE, key(), Read);
    world.advance(Duration::from_millis(2));
    world.settle();
    assert!(matches!(world.outcomes[&upgrade], Outcome::Upgraded));
    let pid = world.links[&WAITING].pid;
    let made = [(SHARED, Operation::Upgrade(key())), (SHARED, Operation::Cancel(pid))];
    assert_eq!(world.sent[..2], made);
    assert!(!world.server.is_waiting(pid));
}

#[test]
fn upgrade_that_waits_goes_on_when_the_last_reader_here_leaves() {
    let (mut world, grant) = holding(Read);
    let other = world.acquire(key(), Read, Patience::Wait);
    let upgrade = world.upgrade(key(), grant, Patience::Wait);
    world.settle();
    assert_eq!(world.sent, []);
    let other = grant_of(&world, other);
    world.release(key(), other, false);
    world.settle();
    assert!(matches!(world.outcomes[&upgrade], Outcome::Upgraded));
}

#[test]
fn upgraded_guard_excludes_the_next_writer_until_its_loss_is_noticed() {
    let (mut world, grant) = holding(Read);
    world.server.try_lock(ELSEWHERE, key(), Read);
    let upgrade = world.upgrade(key(), grant, Patience::Wait);
    let writer = world.acquire(key(), Write, Patience::Wait);
    world.settle();
    world.server.unlock(ELSEWHERE, key(), Read);
    world.advance(Duration::from_millis(2));
    world.settle();
    assert!(matches!(world.outcomes[&upgrade], Outcome::Upgraded));
    assert!(world.server.is_waiting(world.links[&WAITING].pid));
    world.kill(SHARED, false);
    run(&mut world, WAITING);
    assert!(!is_granted(&world, writer), "the guard still counts as held");
    world.settle();
    assert!(is_granted(&world, writer));
}

#[test]
fn lock_that_a_reader_has_lost_is_taken_only_once_before_that_is_noticed() {
    let (mut world, grant) = holding(Read);
    world.server.try_lock(ELSEWHERE, key(), Read);
    world.upgrade(key(), grant, Patience::Wait);
    world.settle();
    world.kill(SHARED, false);
    world.sent.clear();
    world.server.unlock(ELSEWHERE, key(), Read);
    run(&mut world, WAITING);
    assert_eq!(world.sent, [(WAITING, Operation::Unlock(key(), Write))]);
}
