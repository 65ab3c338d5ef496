//! Single scenarios. `model` checks the same machine at random.

mod cancelling;
mod converting;
mod early;
mod ending;
mod failing;
mod letting_in;
mod outages;
mod passing;
mod probing;
mod proofs;
mod refusing;
mod rotating;
mod runs;
mod sessions;
mod sharing;
mod strays;
mod waiting;

use std::time::Duration;

use super::model::world::{REMOTE, World};
use crate::driver::Operation;
use crate::engine::machine::config::Config;
use crate::engine::machine::event::{CallerId, GrantId, Outcome, Patience, SessionId};
use crate::key::LockKey;
use crate::mode::Mode::Write;

const KEY: i64 = 7;
/// The session that a first acquire opens, and the next one, which waits in these tests.
const SHARED: SessionId = SessionId(0);
const WAITING: SessionId = SessionId(1);
const ELSEWHERE: i32 = REMOTE[0];

fn key() -> LockKey {
    LockKey::from(KEY)
}

fn world() -> World {
    world_with(|_| {})
}

/// A second shared one does not exist before it is needed.
fn world_without_waiting_sessions() -> World {
    world_with(|config| {
        config.max_shared_sessions = 2;
        config.max_waiting_sessions = 0;
    })
}

fn world_with(change: impl FnOnce(&mut Config)) -> World {
    let mut config = Config {
        max_shared_sessions: 1,
        max_waiting_sessions: 1,
        hand_over_count: 2,
        ..Config::default()
    };
    change(&mut config);
    World::new(config, vec![key()], 1)
}

/// A world in which a caller of this process holds the lock.
fn holding(mode: crate::Mode) -> (World, GrantId) {
    holding_in(world(), mode)
}

/// A writer of this process holds the lock, which its readers may share later.
fn sharing() -> (World, GrantId) {
    holding_in(world_with(|config| config.share_write_locks = true), Write)
}

fn holding_in(mut world: World, mode: crate::Mode) -> (World, GrantId) {
    let waiter = world.acquire(key(), mode, Patience::Wait);
    world.settle();
    world.sent.clear();
    let grant = grant_of(&world, waiter);
    (world, grant)
}

/// A world in which a caller of this process waits at the server for the lock, which a writer of
/// another process holds.
fn waiting(mode: crate::Mode) -> (World, CallerId) {
    waiting_in(world(), mode)
}

fn waiting_in(mut world: World, mode: crate::Mode) -> (World, CallerId) {
    world.server.try_lock(ELSEWHERE, key(), Write);
    let waiter = world.acquire(key(), mode, Patience::Wait);
    world.settle();
    assert!(world.server.is_waiting(world.links[&WAITING].pid));
    (world, waiter)
}

/// Lets time pass with heartbeats.
fn pass(world: &mut World, seconds: u64) {
    for _ in 0..seconds {
        world.advance(Duration::from_secs(1));
        world.settle();
    }
}

/// Lets one session do all it can.
fn run(world: &mut World, id: SessionId) {
    while world.movable().contains(&id) {
        world.turn(id, true);
    }
}

fn sent_by_shared(operations: &[Operation]) -> Vec<(SessionId, Operation)> {
    operations.iter().map(|operation| (SHARED, *operation)).collect()
}

fn grant_of(world: &World, waiter: CallerId) -> GrantId {
    match &world.outcomes[&waiter] {
        Outcome::Granted { grant, .. } => *grant,
        other => panic!("not granted but {other:?}"),
    }
}

fn is_granted(world: &World, waiter: CallerId) -> bool {
    matches!(world.outcomes.get(&waiter), Some(Outcome::Granted { .. }))
}
