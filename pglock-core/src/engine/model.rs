//! The machine against a model: random callers, server, other processes and faults, with everything checked after every step.

mod drain;
mod reference;
mod server;
pub(crate) mod world;

use std::time::Duration;

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use self::world::{REMOTE, Stage, World};
use super::event::Patience;
use super::limits::{Limits, WaitStrategy};
use crate::key::LockKey;
use crate::mode::Mode;

/// Small bounds, so that they are met.
#[derive(Clone, Debug)]
struct Setup {
    shared: usize,
    waiting: usize,
    polls: bool,
    hand_overs: u32,
    batch: usize,
    keys: usize,
    seed: u64,
    closed: bool,
}

impl Setup {
    fn strategy() -> impl Strategy<Value = Self> {
        let counts = (1..=2_usize, 0..=2_usize, 1..=3_u32, 1..=3_usize, 1..=3_usize);
        let polls = prop::bool::weighted(0.2);
        (counts, polls, any::<u64>()).prop_map(
            |((shared, waiting, hand_overs, batch, keys), polls, seed)| Self {
                shared,
                waiting,
                polls,
                hand_overs,
                batch,
                keys,
                seed,
                closed: false,
            },
        )
    }

    fn limits(&self) -> Limits {
        let ms = Duration::from_millis;
        Limits {
            shared_sessions: self.shared,
            keys_per_session: 1,
            waiting_sessions: self.waiting,
            wait: match self.polls {
                true => WaitStrategy::Poll { interval: ms(10) },
                false => WaitStrategy::Queue,
            },
            hand_over_count: self.hand_overs,
            hand_over_age: ms(50),
            poll_interval: ms(20),
            batch: self.batch,
            idle_timeout: ms(200),
            reconnect_pause: ms(10),
            reconnect_timeout: ms(300),
            cancel_timeout: ms(100),
        }
    }

    fn keys(&self) -> Vec<LockKey> {
        let keys = [LockKey::from(7), LockKey::from((7, 8)), LockKey::from(-9)];
        keys[..self.keys].to_vec()
    }
}

/// What happens next. Numbers choose among what is there, modulo its count.
#[derive(Clone, Debug)]
enum Transition {
    Acquire(usize, Mode, Patience),
    Abandon(usize),
    Release(usize, bool),
    /// One session makes one move.
    Turn(usize, bool),
    /// Every session makes that many moves.
    Rounds(usize),
    Advance(u64),
    Remote(usize, usize, Remote),
    Fault(Fault),
    Close,
}

/// What another process does.
#[derive(Clone, Copy, Debug)]
enum Remote {
    Try(Mode),
    Wait(Mode),
    Release,
    GiveUp,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    OpenFails { permanent: bool },
    Refuse { nth: usize, done: usize, half: bool },
    CancelWait { nth: usize },
    Kill { nth: usize, executed: bool },
    Cut { nth: usize },
    Reap { nth: usize, executed: bool },
}

struct Model<const FAULTS: bool>;

impl<const FAULTS: bool> ReferenceStateMachine for Model<FAULTS> {
    type State = Setup;
    type Transition = Transition;

    fn init_state() -> BoxedStrategy<Setup> {
        Setup::strategy().boxed()
    }

    fn transitions(_: &Setup) -> BoxedStrategy<Transition> {
        // Built once: that costs more than running the case.
        thread_local! {
            static TRANSITIONS: [BoxedStrategy<Transition>; 2] = [transitions(0), transitions(20)];
        }
        TRANSITIONS.with(|transitions| transitions[usize::from(FAULTS)].clone())
    }

    fn preconditions(setup: &Setup, transition: &Transition) -> bool {
        !(setup.closed && matches!(transition, Transition::Close))
    }

    fn apply(mut setup: Setup, transition: &Transition) -> Setup {
        setup.closed |= matches!(transition, Transition::Close);
        setup
    }
}

fn transitions(faults: u32) -> BoxedStrategy<Transition> {
    let mode = || prop_oneof![Just(Mode::Read), Just(Mode::Write)];
    let patience = prop_oneof![1 => Just(Patience::Try), 2 => Just(Patience::Wait)];
    let nth = 0..12_usize;
    let remote = prop_oneof![
        2 => mode().prop_map(Remote::Try),
        2 => mode().prop_map(Remote::Wait),
        3 => Just(Remote::Release),
        1 => Just(Remote::GiveUp),
    ];
    let choices = prop_oneof![
        60 => (0..3_usize, mode(), patience).prop_map(|(key, mode, patience)| Transition::Acquire(key, mode, patience)),
        20 => nth.clone().prop_map(Transition::Abandon),
        40 => (nth.clone(), any::<bool>()).prop_map(|(nth, confirm)| Transition::Release(nth, confirm)),
        100 => (nth, any::<bool>()).prop_map(|(nth, luck)| Transition::Turn(nth, luck)),
        40 => (1..6_usize).prop_map(Transition::Rounds),
        20 => prop_oneof![1..30_u64, 30..120_u64].prop_map(Transition::Advance),
        30 => (0..REMOTE.len(), 0..3_usize, remote).prop_map(|(who, key, remote)| Transition::Remote(who, key, remote)),
        1 => Just(Transition::Close),
    ];
    match faults {
        0 => choices.boxed(),
        faults => prop_oneof![
            310 => choices,
            faults => fault().prop_map(Transition::Fault),
        ]
        .boxed(),
    }
}

fn fault() -> impl Strategy<Value = Fault> {
    let nth = || 0..4_usize;
    prop_oneof![
        prop::bool::weighted(0.2).prop_map(|permanent| Fault::OpenFails { permanent }),
        (nth(), nth(), any::<bool>()).prop_map(|(nth, done, half)| Fault::Refuse {
            nth,
            done,
            half
        }),
        nth().prop_map(|nth| Fault::CancelWait { nth }),
        (nth(), any::<bool>()).prop_map(|(nth, executed)| Fault::Kill { nth, executed }),
        nth().prop_map(|nth| Fault::Cut { nth }),
        (nth(), any::<bool>()).prop_map(|(nth, executed)| Fault::Reap { nth, executed }),
    ]
}

impl<const FAULTS: bool> StateMachineTest for Model<FAULTS> {
    type SystemUnderTest = World;
    type Reference = Self;

    fn init_test(setup: &Setup) -> World {
        World::new(setup.limits(), setup.keys(), setup.seed)
    }

    fn apply(mut world: World, setup: &Setup, transition: Transition) -> World {
        let keys = setup.keys();
        let key = |nth: usize| keys[nth % keys.len()];
        match transition {
            Transition::Acquire(nth, mode, patience) => {
                // What comes after the close is refused at once.
                world.acquire(key(nth), mode, patience);
            }
            Transition::Abandon(nth) => {
                if let Some((waiter, key)) = choose(world.reference.unresolved(), nth) {
                    world.abandon(waiter, key);
                }
            }
            Transition::Release(nth, confirm) => {
                if let Some((key, guard)) = choose(world.reference.guards(), nth) {
                    world.release(key, guard.hold, confirm);
                }
            }
            Transition::Turn(nth, luck) => {
                if let Some(id) = choose(world.movable(), nth) {
                    world.turn(id, luck);
                }
            }
            Transition::Rounds(count) => world.rounds(count),
            Transition::Advance(ms) => world.advance(Duration::from_millis(ms)),
            Transition::Remote(who, nth, remote) => act(&mut world, REMOTE[who], key(nth), remote),
            Transition::Fault(fault) => inject(&mut world, fault),
            Transition::Close => world.close(),
        }
        world
    }

    fn teardown(world: World, _: Setup) {
        world.drain();
    }
}

fn act(world: &mut World, pid: i32, key: LockKey, remote: Remote) {
    let server = &mut world.server;
    let holds = |server: &server::Server| {
        [Mode::Read, Mode::Write].into_iter().find(|mode| server.count(pid, key, *mode) > 0)
    };
    match remote {
        Remote::GiveUp => server.leave_queue(pid),
        _ if server.is_waiting(pid) => {}
        Remote::Release => {
            if let Some(mode) = holds(server) {
                server.unlock(pid, key, mode);
            }
        }
        _ if holds(server).is_some() => {}
        Remote::Try(mode) => {
            server.try_lock(pid, key, mode);
        }
        Remote::Wait(mode) => {
            server.lock(pid, key, mode);
        }
    }
    world.note_contention();
}

fn inject(world: &mut World, fault: Fault) {
    let in_use = |world: &World| {
        world.find(|stage| !matches!(stage, Stage::Connecting | Stage::Closing | Stage::Broken))
    };
    match fault {
        Fault::OpenFails { permanent } => world.open_fails(permanent),
        Fault::Refuse { nth, done, half } => {
            let sent = |stage: &Stage| {
                matches!(stage, Stage::Sent(_) | Stage::SentHoldings | Stage::Waiting)
            };
            if let Some(id) = choose(world.find(sent), nth) {
                world.refuse(id, done, half);
            }
        }
        Fault::CancelWait { nth } => {
            if let Some(id) = choose(world.find(|stage| *stage == Stage::Waiting), nth) {
                world.refuse(id, 0, false);
            }
        }
        Fault::Kill { nth, executed } => {
            if let Some(id) = choose(in_use(world), nth) {
                world.kill(id, executed);
            }
        }
        Fault::Cut { nth } => {
            if let Some(id) = choose(in_use(world), nth) {
                world.cut(id);
            }
        }
        Fault::Reap { nth, executed } => world.reap(nth, executed),
    }
}

fn choose<T>(mut from: Vec<T>, nth: usize) -> Option<T> {
    match from.len() {
        0 => None,
        count => Some(from.swap_remove(nth % count)),
    }
}

fn cases(count: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: match std::env::var_os("PROPTEST_CASES") {
            Some(_) => default.cases,
            None => count,
        },
        failure_persistence: None,
        ..default
    }
}

prop_state_machine! {
    #![proptest_config(cases(5_000))]

    #[test]
    fn callers_get_what_they_may_expect(sequential 1..60 => Model<false>);

    #[test]
    fn callers_get_what_they_may_expect_whatever_goes_wrong(sequential 1..100 => Model<true>);
}
