//! More keys than waiting sessions.

use std::time::Duration;

use super::{ELSEWHERE, WAITING, grant_of, is_granted, key, pass, world_with};
use crate::driver::Operation;
use crate::engine::machine::config::Config;
use crate::engine::machine::event::{CallerId, GrantId, Patience};
use crate::engine::machine::tests::model::world::{REMOTE, World};
use crate::key::LockKey;
use crate::mode::Mode::Write;

const STEP: Duration = Duration::from_millis(10);

/// A world with the limits of production. Another process holds this many keys and never releases
/// them, and callers of this process wait for them.
fn standby(keys: i64) -> (World, Vec<CallerId>) {
    standby_with(Config::default(), keys)
}

fn standby_with(config: Config, keys: i64) -> (World, Vec<CallerId>) {
    let mut world = World::new(config, (0..keys).map(LockKey::from).collect(), 1);
    let waiters = (0..keys).map(|key| {
        world.server.try_lock(ELSEWHERE, key.into(), Write);
        world.acquire(key.into(), Write, Patience::Wait)
    });
    let waiters = waiters.collect();
    world.settle();
    (world, waiters)
}

/// Two other processes pass the key on without end, so it is never free.
fn pass_on(world: &mut World, key: LockKey) {
    let holds = |pid| world.server.count(pid, key, Write) > 0;
    let [holder, other] = if holds(REMOTE[0]) { REMOTE } else { [REMOTE[1], REMOTE[0]] };
    if world.server.claims(key).iter().all(|(pid, _)| *pid != other) {
        world.server.lock(other, key, Write);
    }
    world.server.unlock(holder, key, Write);
}

/// How long a new caller waits for a key that others pass on.
fn turn_of(world: &mut World, key: LockKey) -> (Duration, GrantId) {
    let begin = world.now;
    pass_on(world, key);
    let waiter = world.acquire(key, Write, Patience::Wait);
    while !is_granted(world, waiter) {
        assert!(world.now < begin + Duration::from_secs(600), "{key} starves: {world:?}");
        world.advance(STEP);
        pass_on(world, key);
        world.settle();
    }
    (world.now.since(begin), grant_of(world, waiter))
}

fn cancels(world: &World) -> usize {
    world.sent.iter().filter(|(_, op)| matches!(op, Operation::Cancel(_))).count()
}

#[test]
fn key_that_others_pass_on_is_granted_beside_keys_held_for_good() {
    let (turn, quick) = (Config::default().turn, LockKey::from(-1));
    for (keys, bound) in [(3, Duration::from_millis(100)), (4, turn), (19, turn), (199, turn)] {
        let (mut world, _) = standby(keys);
        pass(&mut world, 600);
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            let (took, grant) = turn_of(&mut world, quick);
            longest = longest.max(took);
            world.release(quick, grant, false);
            world.settle();
        }
        println!("{keys} keys held for good: {longest:?}");
        assert!(longest <= bound + Duration::from_millis(200), "{keys}: {longest:?}");
    }
}

#[test]
fn every_caller_is_granted_within_a_turn_for_each_key() {
    for keys in [5_u32, 20, 200] {
        let (mut world, _) = standby(i64::from(keys) - 1);
        let (took, _) = turn_of(&mut world, LockKey::from(-1));
        println!("{keys} keys waited for: {took:?}");
        assert!(took <= Config::default().turn * (keys - 3), "{took:?}");
    }
}

/// Although other callers come and go, and constantly need sessions for a moment.
#[test]
fn key_whose_turn_takes_long_gets_longer_and_longer_waits() {
    const TURN: Duration = Duration::from_secs(5);
    let (mut world, _) = standby(8);
    let (slow, quick, begin) = (LockKey::from(-1), LockKey::from(-2), world.now);
    world.server.try_lock(ELSEWHERE, slow, Write);
    world.server.try_lock(ELSEWHERE, quick, Write);
    let waiter = world.acquire(slow, Write, Patience::Wait);
    let mut guest = world.acquire(quick, Write, Patience::Wait);
    let (mut since, mut guests) = (None, 0);
    while !is_granted(&world, waiter) {
        assert!(world.now < begin + Duration::from_secs(300), "it starves: {world:?}");
        world.advance(STEP);
        pass_on(&mut world, quick);
        // Only a wait that has lasted this long in the queue is granted.
        let is_awaited = world.server.claims(slow).len() > 1;
        since = since.filter(|_| is_awaited).or(is_awaited.then_some(world.now));
        if since.is_some_and(|since| world.now >= since + TURN) {
            world.server.unlock(ELSEWHERE, slow, Write);
        }
        world.settle();
        if is_granted(&world, guest) {
            let grant = grant_of(&world, guest);
            world.release(quick, grant, false);
            guest = world.acquire(quick, Write, Patience::Wait);
            guests += 1;
        }
    }
    println!("{TURN:?} in the queue after {:?}, beside {guests} guests", world.now.since(begin));
    assert!(world.now.since(begin) <= TURN * 8 * 10 && guests > 10);
}

#[test]
fn keys_that_others_never_release_change_places_rarely() {
    // Only the end of a turn ends a wait.
    let (mut world, _) = standby_with(Config { wait_renewal: None, ..Config::default() }, 20);
    pass(&mut world, 3600);
    let before = cancels(&world);
    pass(&mut world, 3600);
    // By now, a turn in the last lane takes two minutes.
    assert!(cancels(&world) - before <= 30, "{}", cancels(&world) - before);
}

#[test]
fn wait_that_made_room_is_granted_when_its_key_comes_free() {
    let (mut world, waiters) = standby(20);
    pass(&mut world, 60);
    for (nth, waiter) in waiters.into_iter().enumerate() {
        world.server.unlock(ELSEWHERE, (nth as i64).into(), Write);
        for _ in 0..40 {
            world.advance(STEP);
            world.settle();
        }
        assert!(is_granted(&world, waiter), "{nth}");
    }
}

#[test]
fn wait_that_is_granted_while_it_makes_room_is_handed_out() {
    let mut world = world_with(|_| {});
    world.server.try_lock(ELSEWHERE, key(), Write);
    let waiter = world.acquire(key(), Write, Patience::Wait);
    world.settle();
    let other = LockKey::from(8);
    world.server.try_lock(ELSEWHERE, other, Write);
    world.acquire(other, Write, Patience::Wait);
    world.settle();
    world.advance(Config::default().turn);
    assert!(world.machine.sessions.get(WAITING).is_some_and(|s| s.is_given_up()));
    world.server.unlock(ELSEWHERE, key(), Write);
    world.turn(WAITING, false);
    world.settle();
    assert!(is_granted(&world, waiter));
    world.drain();
}

#[test]
fn wait_that_makes_room_is_not_refused_for_want_of_room_below_the_cap() {
    let mut world = world_with(|config| config.max_locks = Some(2));
    let waiters = [key(), LockKey::from(8)].map(|key| {
        world.server.try_lock(ELSEWHERE, key, Write);
        let waiter = world.acquire(key, Write, Patience::Wait);
        world.settle();
        waiter
    });
    world.acquire(LockKey::from(9), Write, Patience::Wait);
    world.settle();
    pass(&mut world, 10);
    assert!(cancels(&world) > 1);
    assert!(waiters.iter().all(|waiter| !world.outcomes.contains_key(waiter)));
}

#[test]
fn sessions_that_hold_locks_do_not_keep_others_from_waiting() {
    let (mut world, waiters) = standby(4);
    for (nth, waiter) in waiters.into_iter().enumerate() {
        world.server.unlock(ELSEWHERE, (nth as i64).into(), Write);
        world.settle();
        assert!(is_granted(&world, waiter));
    }
    pass(&mut world, 1);
    let (took, _) = turn_of(&mut world, LockKey::from(-1));
    assert!(took <= Config::default().turn, "{took:?}");
}

#[test]
fn wait_that_cannot_be_cancelled_makes_no_room() {
    let (mut world, _) = standby(0);
    world.may_cancel = false;
    for key in 0..6 {
        world.server.try_lock(ELSEWHERE, key.into(), Write);
        world.acquire(key.into(), Write, Patience::Wait);
    }
    pass(&mut world, 60);
    assert_eq!(cancels(&world), 0);
    // The first wait to make room shows that the right is gone, and the others poll.
    let (mut world, _) = standby(6);
    world.may_cancel = false;
    pass(&mut world, 60);
    assert!(cancels(&world) <= 4 && !world.machine.sessions.waits_in_queue());
    world.drain();
}
