//! Unreachable servers, and what is reported about them.

use std::time::Duration;

use super::{ELSEWHERE, SHARED, holding, is_granted, key, run, waiting, world, world_with};
use crate::Stats;
use crate::driver::Operation;
use crate::engine::machine::Obstacle;
use crate::engine::machine::config::Config;
use crate::engine::machine::event::{
    CallerId, Effect, Effects, Event, Outcome, Patience, SessionId,
};
use crate::engine::machine::tests::model::link::Stage;
use crate::engine::machine::tests::model::turns::refusal;
use crate::engine::machine::tests::model::world::World;
use crate::error::{Error, ErrorKind};
use crate::mode::Mode::{Read, Write};

const SECOND: Duration = Duration::from_secs(1);

fn stats(world: &World) -> Stats {
    world.machine.stats(world.now)
}

fn obstacle(world: &World, waited: Duration) -> Obstacle {
    world.machine.obstacle(key(), world.now.before(waited))
}

fn not_connected(world: &World) -> Error {
    match obstacle(world, Duration::ZERO) {
        Obstacle::NotConnected(error) => error,
        other => panic!("{other:?}"),
    }
}

fn failure(world: &World, waiter: CallerId) -> &Error {
    match world.outcomes.get(&waiter) {
        Some(Outcome::Failed(error)) => error,
        other => panic!("not failed but {other:?}"),
    }
}

/// A machine that has lost its server and is connecting.
fn down() -> World {
    let (mut world, _) = holding(Write);
    world.kill(SHARED, false);
    world.turn(SHARED, true);
    assert_eq!(world.connecting(), Some(SessionId(1)));
    world
}

fn fail_for(world: &mut World, seconds: u32) {
    for _ in 0..4 * seconds {
        world.open_fails(false);
        world.advance(SECOND / 4);
    }
}

#[test]
fn an_outage_is_reported_once_and_so_is_its_end() {
    let mut world = down();
    assert_eq!(world.outages.len(), 1);
    assert_eq!(world.outages[0].0, SHARED);
    fail_for(&mut world, 20);
    assert_eq!((world.outages.len(), world.ended_outages.len()), (1, 0));
    world.advance(SECOND);
    assert_eq!(stats(&world).down_for, Some(21 * SECOND));
    world.settle();
    assert_eq!((world.outages.len(), &world.ended_outages[..]), (1, &[21 * SECOND][..]));
    assert_eq!(stats(&world).down_for, None);
}

#[test]
fn the_first_failure_to_connect_is_reported_once() {
    let mut world = world();
    for _ in 0..5 {
        let waiter = world.acquire(key(), Write, Patience::Wait);
        world.advance(SECOND);
        world.open_fails(false);
        assert_eq!(failure(&world, waiter).kind(), ErrorKind::Connection);
    }
    assert_eq!(world.outages.len(), 1);
    let waiter = world.acquire(key(), Write, Patience::Wait);
    world.advance(SECOND);
    world.settle();
    assert!(is_granted(&world, waiter));
    assert_eq!(world.ended_outages.len(), 1);
}

#[test]
fn an_opening_that_leads_to_no_answer_does_not_end_an_outage() {
    let mut world = down();
    let opened = world.connecting().unwrap();
    world.turn(opened, true);
    // Behind a pooler, another session answers.
    world.step(Event::Found { session: opened, holdings: None });
    world.links.remove(&opened);
    assert_eq!((world.outages.len(), world.ended_outages.len()), (1, 0));
    world.advance(SECOND);
    world.settle();
    assert_eq!((world.outages.len(), world.ended_outages.len()), (1, 1));
}

#[test]
fn a_waiting_session_that_ends_is_no_outage() {
    let (mut world, _) = waiting(Write);
    world.kill(super::WAITING, false);
    world.settle();
    assert!(world.outages.is_empty());
}

#[test]
fn an_idle_machine_reconnects() {
    let (mut world, grant) = holding(Write);
    world.release(key(), grant, false);
    world.settle();
    world.kill(SHARED, false);
    world.turn(SHARED, true);
    fail_for(&mut world, 5);
    assert!(!stats(&world).connected);
    world.advance(SECOND);
    world.settle();
    assert!(stats(&world).connected);
    assert_eq!(world.reference.unresolved(), []);
}

#[test]
fn a_machine_that_was_closed_does_not_reconnect() {
    let (mut world, _) = holding(Write);
    world.close();
    world.kill(SHARED, false);
    world.settle();
    assert!(world.machine.is_finished() && world.outages.is_empty());
}

/// No task could reconnect, and at the end of a program an outage is of no interest.
#[test]
fn the_end_of_the_runtime_is_no_outage() {
    let (mut world, _) = holding(Write);
    let error = Error::new(ErrorKind::NoRuntime, "the runtime has ended");
    let mut fx = Effects::default();
    world.machine.handle(Event::Ended { session: SHARED, error }, world.now, &mut fx);
    let is_unwanted = |effect: &Effect| matches!(effect, Effect::Down { .. } | Effect::Open(_));
    assert!(!fx.0.iter().any(is_unwanted));
    assert!(world.machine.sessions.is_empty());
}

#[test]
fn figures_are_published_at_every_heartbeat_of_an_outage() {
    let mut world = down();
    // The attempt to connect hangs.
    let heartbeat = Config::default().lease.heartbeat;
    let begin = world.now;
    let age = stats(&world).last_heartbeat.expect("there was one");
    while world.now < begin + 20 * SECOND {
        let alarm = world.machine.poll_timeout().expect("the manager is called again");
        assert!(alarm <= world.now + heartbeat);
        let passed = alarm.since(world.now);
        world.advance(passed);
    }
    assert_eq!(stats(&world).last_heartbeat, Some(age + (world.now.since(begin))));
    assert_eq!(stats(&world).down_for, Some(world.now.since(begin)));
}

#[test]
fn opening_a_session_counts_as_a_heartbeat() {
    let mut world = world();
    world.acquire(key(), Write, Patience::Wait);
    assert_eq!(stats(&world).last_heartbeat, None);
    world.advance(SECOND);
    world.turn(SHARED, true);
    // The heartbeat counts from the beginning of connecting.
    assert_eq!(stats(&world).last_heartbeat, Some(SECOND));
}

#[test]
fn a_caller_without_a_connection_gets_the_reason() {
    let mut world = world();
    world.acquire(key(), Write, Patience::Wait);
    let error = not_connected(&world);
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert!(error.to_string().contains("longer"), "{error}");

    let mut world = down();
    world.acquire(key(), Write, Patience::Wait);
    let error = not_connected(&world).with_causes();
    assert!(error.contains("longer") && error.contains("the connection has ended"), "{error}");
    world.open_fails(false);
    world.advance(SECOND);
    let error = not_connected(&world).to_string();
    assert!(error.contains("cannot be reached") && error.contains("within the timeout"), "{error}");
    world.settle();
}

#[test]
fn a_caller_that_waits_behind_a_holder_finds_the_lock_busy() {
    let (mut world, _) = waiting(Write);
    world.kill(SHARED, false);
    world.turn(SHARED, true);
    // Another session still waits in the server's queue.
    assert!(matches!(obstacle(&world, Duration::ZERO), Obstacle::Busy));
    world.settle();
    let (mut world, _) = holding(Write);
    world.acquire(key(), Read, Patience::Wait);
    assert!(matches!(obstacle(&world, Duration::ZERO), Obstacle::Busy));
    world.kill(SHARED, false);
    world.turn(SHARED, true);
    not_connected(&world);
    world.settle();
}

#[test]
fn a_caller_that_polls_finds_the_lock_busy_if_a_session_is_open() {
    let mut world = world_with(|config| config.max_waiting_sessions = 0);
    world.server.try_lock(ELSEWHERE, key(), Write);
    world.acquire(key(), Write, Patience::Wait);
    world.settle();
    assert!(matches!(obstacle(&world, Duration::ZERO), Obstacle::Busy));
    world.kill(SHARED, false);
    world.turn(SHARED, true);
    not_connected(&world);
    world.settle();
}

#[test]
fn a_caller_whose_question_was_not_answered_gets_the_silence() {
    let mut world = world();
    world.acquire(8.into(), Write, Patience::Wait);
    world.settle();
    world.advance(SECOND);
    world.acquire(key(), Write, Patience::Wait);
    world.turn(SHARED, true);
    world.advance(SECOND);
    assert!(matches!(obstacle(&world, SECOND), Obstacle::Silence));
    // The server has answered since the caller arrived, although not to its request.
    assert!(matches!(obstacle(&world, 2 * SECOND), Obstacle::Busy));
    world.settle();
}

#[test]
fn a_check_asks_a_question_of_its_own() {
    let (mut world, _) = holding(Write);
    let [one, other] = [world.check_server(), world.check_server()];
    run(&mut world, SHARED);
    assert_eq!(world.sent, [(SHARED, Operation::Ping)]);
    assert!([one, other].iter().all(|id| matches!(world.outcomes[id], Outcome::Checked)));
}

#[test]
fn a_check_connects() {
    let mut world = world();
    let check = world.check_server();
    world.settle();
    assert!(matches!(world.outcomes[&check], Outcome::Checked));
}

#[test]
fn a_check_fails_with_the_obstacle() {
    let (mut world, _) = holding(Write);
    let refused = world.check_server();
    world.turn(SHARED, true);
    let looks = world.look(None);
    world.refuse(SHARED, 0, false);
    world.turn(SHARED, true);
    assert_eq!(failure(&world, refused).to_string(), refusal().to_string());
    world.settle();
    assert!(matches!(world.outcomes[&looks], Outcome::Inspected(_)), "others are not concerned");

    let mut world = down();
    let check = world.check_server();
    world.open_fails(false);
    assert!(failure(&world, check).to_string().contains("cannot be reached"));
    world.settle();

    let (mut world, _) = holding(Write);
    let check = world.check_server();
    world.turn(SHARED, true);
    world.kill(SHARED, true);
    world.turn(SHARED, true);
    assert!(failure(&world, check).to_string().contains("has ended"));
    world.settle();
    world.close();
    let check = world.check_server();
    assert_eq!(failure(&world, check).kind(), ErrorKind::Closed);
}

#[test]
fn an_abandoned_check_asks_nothing() {
    let (mut world, _) = holding(Write);
    let check = world.check_server();
    world.abandon(check, key());
    run(&mut world, SHARED);
    assert_eq!(world.sent, []);
    assert_eq!(world.links[&SHARED].stage, Stage::Idle);
}
