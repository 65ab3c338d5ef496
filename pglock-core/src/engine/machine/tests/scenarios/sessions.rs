//! How many sessions there are, and how long they stay open.

use std::ops::Range;
use std::time::Duration;

use super::{
    ELSEWHERE, KEY, SHARED, WAITING, grant_of, holding, is_granted, key, pass, run, waiting, world,
    world_with,
};
use crate::engine::machine::config::Config;
use crate::engine::machine::event::{Patience, SessionId};
use crate::engine::machine::tests::model::link::{Link, Stage};
use crate::engine::machine::tests::model::world::World;
use crate::key::LockKey;
use crate::mode::Mode::{Read, Write};

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

/// A caller for a key that another process holds.
fn wait_and_give_up(world: &mut World) {
    let waiter = world.acquire(key(), Write, Patience::Wait);
    world.settle();
    world.abandon(waiter, key());
    world.settle();
}

#[test]
fn a_key_that_wants_no_session_any_more_leaves_the_line() {
    let mut world = world_with(|config| config.max_waiting_sessions = 0);
    world.server.try_lock(ELSEWHERE, key(), Write);
    for _ in 0..3 {
        wait_and_give_up(&mut world);
    }
    assert!(world.machine.sessions.line.is_empty());
}

#[test]
fn a_free_waiting_session_is_used_before_another_one_is_opened() {
    let mut world = world_with(|config| config.max_waiting_sessions = 2);
    world.server.try_lock(ELSEWHERE, key(), Write);
    for _ in 0..3 {
        wait_and_give_up(&mut world);
    }
    assert_eq!(world.links.len(), 2);
}

#[test]
fn a_waiting_session_with_an_unwanted_answer_serves_another_key() {
    let mut world = world_with(|config| config.hand_over_count = 0);
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
    assert_eq!(world.machine.sessions.line.len(), 1, "the session goes to one of the two");
    world.abandon(joining[0], keys[0]);
    world.settle();
    assert!(is_granted(&world, joining[1]));
}

#[test]
fn a_crowded_session_gets_another_one_beside_it() {
    let mut world = world_with(|config| {
        config.max_shared_sessions = 4;
        config.crowd = 2;
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
    // No caller waits until it is connected.
    acquire(&mut world, 4..6);
    let queued = |world: &World, id| world.machine.sessions.get(id).unwrap().queued();
    assert_eq!((queued(&world, SHARED), queued(&world, company)), (5, 0));
    world.settle();
    acquire(&mut world, 6..20);
    assert_eq!((queued(&world, SHARED), queued(&world, company)), (7, 7));
    world.settle();
    assert_eq!(world.links.len(), 2, "two sides cannot do more than two things at a time");
}

#[test]
fn a_second_session_that_cannot_be_opened_is_no_outage() {
    let mut world = world_with(|config| {
        config.max_shared_sessions = 2;
        config.crowd = 1;
    });
    let seconds = world.machine.sessions.config.reconnect_timeout.as_secs();
    for number in 0..=seconds as i64 {
        for key in [2 * number, 2 * number + 1] {
            world.acquire(LockKey::from(key), Write, Patience::Wait);
        }
        if number > 0 {
            world.open_fails(false);
        }
        pass(&mut world, 1);
    }
    assert!(world.outages.is_empty());
    world.kill(SHARED, false);
    world.turn(SHARED, false);
    world.advance(Duration::from_secs(1));
    let waiter = world.acquire(key(), Write, Patience::Wait);
    world.open_fails(false);
    assert!(!world.outcomes.contains_key(&waiter), "the only session has just ended");
    pass(&mut world, 1);
    assert!(is_granted(&world, waiter));
}

#[test]
fn of_idle_shared_sessions_one_is_kept() {
    let mut world = world_with(|config| {
        config.max_shared_sessions = 2;
        config.keys_per_session = 1;
    });
    let waiters: Vec<_> = [KEY, KEY + 1]
        .map(|number| (LockKey::from(number), world.acquire(number.into(), Write, Patience::Wait)))
        .into();
    world.settle();
    for (key, waiter) in waiters {
        world.release(key, grant_of(&world, waiter), false);
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
fn an_idle_session_is_closed_after_an_abandoned_inspection() {
    let mut world = world_with(|config| {
        config.max_shared_sessions = 2;
        config.keys_per_session = 1;
    });
    let [first, _] = [KEY, KEY + 1].map(|key| world.acquire(key.into(), Write, Patience::Wait));
    world.settle();
    world.release(key(), grant_of(&world, first), false);
    world.settle();
    pass(&mut world, 29);
    let onlooker = world.look(None);
    world.advance(Duration::from_secs(2));
    world.abandon(onlooker, key());
    world.settle();
    pass(&mut world, 31);
    assert!(!world.links.contains_key(&SHARED));
}

#[test]
fn an_idle_waiting_session_is_closed_after_a_while() {
    let (mut world, waiter) = waiting(Write);
    world.abandon(waiter, key());
    world.settle();
    world.advance(Duration::from_secs(29));
    // Needed again, but too briefly to be used.
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
        world.advance(Config::default().lease.heartbeat);
        world.turn(SHARED, true);
        assert_eq!(world.links[&SHARED].stage, Stage::SentHoldings);
        world.settle();
    }
}

#[test]
fn an_idle_waiting_session_is_closed_after_a_pending_heartbeat() {
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

#[test]
fn an_idle_manager_disconnects_if_it_may() {
    let mut world = world_with(|config| {
        config.disconnect_when_idle = true;
        config.idle_timeout = Duration::from_millis(200);
    });
    for _ in 0..3 {
        let caller = world.acquire(key(), Write, Patience::Wait);
        world.settle();
        world.advance(Duration::from_secs(1));
        world.settle();
        assert!(world.machine.stats(world.now).connected, "it holds a lock");
        let grant = grant_of(&world, caller);
        world.release(key(), grant, true);
        world.settle();
        world.advance(Duration::from_secs(1));
        world.settle();
        let stats = world.machine.stats(world.now);
        assert_eq!((stats.sessions, stats.connected, stats.down_for), (0, false, None));
        assert!(world.machine.sessions.is_empty(), "and it plans none");
    }
}
