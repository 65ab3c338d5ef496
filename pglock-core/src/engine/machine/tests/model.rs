//! Runs the machine against a model: random callers, server, other processes and faults. Checks
//! everything after every step.

mod checks;
mod drain;
mod early;
mod faults;
pub(crate) mod link;
mod proofs;
mod reference;
mod runs;
mod server;
mod transitions;
pub(crate) mod turns;
mod upgrades;
pub(crate) mod world;

use std::time::Duration;

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use self::transitions::{Transition, transitions};
use self::world::World;
use crate::engine::machine::config::{Config, Lease, WaitStrategy};
use crate::key::LockKey;

/// The limits are low, so that cases reach them.
#[derive(Clone, Debug)]
struct Setup {
    shared: usize,
    crowd: usize,
    waiting: usize,
    polls: bool,
    /// Callers of this process mostly read.
    reads: bool,
    hand_overs: u32,
    shares: bool,
    batch: usize,
    keys: usize,
    seed: u64,
    lease: Lease,
    /// How many locks may be held at the server.
    cap: Option<usize>,
    renews: bool,
    disconnects: bool,
    closed: bool,
}

impl Setup {
    fn strategy(faults: bool) -> impl Strategy<Value = Self> {
        let counts = (1..=2_usize, 1..=3_usize, 0..=2_usize, 0..=2_u32, 1..=3_usize, 1..=3_usize);
        let modes = [0.2, 0.4, 0.4, 0.5, 0.3].map(prop::bool::weighted);
        let lease = |server: u64, heartbeat| Lease {
            server: Duration::from_millis(server),
            guard: Duration::from_millis(server / 3 * 2),
            heartbeat: Duration::from_millis(heartbeat),
        };
        // Without faults, no session is dropped, but each sends many heartbeats.
        let busy = if faults { lease(150, 40) } else { lease(30_000, 40) };
        let lease = prop_oneof![Just(busy), Just(lease(30_000, 1_000))];
        let cap = prop_oneof![3 => Just(None), 1 => (1..=2_usize).prop_map(Some)];
        (counts, modes, lease, cap, any::<u64>()).prop_map(|(counts, modes, lease, cap, seed)| {
            let (shared, crowd, waiting, hand_overs, batch, keys) = counts;
            let [polls, reads, shares, renews, disconnects] = modes;
            Self {
                shared,
                crowd,
                waiting,
                polls,
                reads,
                hand_overs,
                shares,
                batch,
                keys,
                seed,
                lease,
                cap,
                renews,
                disconnects,
                closed: false,
            }
        })
    }

    fn config(&self) -> Config {
        let ms = Duration::from_millis;
        Config {
            max_shared_sessions: self.shared,
            keys_per_session: 1,
            crowd: self.crowd,
            max_waiting_sessions: self.waiting,
            wait_strategy: match self.polls {
                true => WaitStrategy::Poll { interval: ms(10) },
                false => WaitStrategy::Queue,
            },
            hand_over_count: self.hand_overs,
            hand_over_age: ms(50),
            share_write_locks: self.shares,
            turn: ms(50),
            wait_renewal: self.renews.then_some(ms(120)),
            poll_interval: ms(20),
            batch: self.batch,
            idle_timeout: ms(200),
            disconnect_when_idle: self.disconnects,
            reconnect_pause: ms(10),
            reconnect_timeout: ms(300),
            cancel_timeout: ms(100),
            lease: self.lease,
            max_locks: self.cap,
            max_waiters: 1000,
        }
    }

    fn keys(&self) -> Vec<LockKey> {
        let keys = [LockKey::from(7), LockKey::from((7, 8)), LockKey::from(-9)];
        keys[..self.keys].to_vec()
    }
}

struct Model<const FAULTS: bool>;

impl<const FAULTS: bool> ReferenceStateMachine for Model<FAULTS> {
    type State = Setup;
    type Transition = Transition;

    fn init_state() -> BoxedStrategy<Setup> {
        Setup::strategy(FAULTS).boxed()
    }

    fn transitions(setup: &Setup) -> BoxedStrategy<Transition> {
        // Built once, because building it takes longer than running a case.
        thread_local! {
            static MIXED: [BoxedStrategy<Transition>; 2] = [transitions(0, 1), transitions(25, 1)];
            static READS: [BoxedStrategy<Transition>; 2] = [transitions(0, 4), transitions(25, 4)];
        }
        let table = if setup.reads { &READS } else { &MIXED };
        table.with(|transitions| transitions[usize::from(FAULTS)].clone())
    }

    fn preconditions(setup: &Setup, transition: &Transition) -> bool {
        !(setup.closed && matches!(transition, Transition::Close))
    }

    fn apply(mut setup: Setup, transition: &Transition) -> Setup {
        setup.closed |= matches!(transition, Transition::Close);
        setup
    }
}

impl<const FAULTS: bool> StateMachineTest for Model<FAULTS> {
    type SystemUnderTest = World;
    type Reference = Self;

    fn init_test(setup: &Setup) -> World {
        World::new(setup.config(), setup.keys(), setup.seed)
    }

    fn apply(mut world: World, setup: &Setup, transition: Transition) -> World {
        transition.apply(&mut world, &setup.keys());
        world
    }

    fn teardown(world: World, _: Setup) {
        world.drain();
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
    #![proptest_config(cases(20_000))]

    #[test]
    fn callers_get_what_they_may_expect(sequential 1..60 => Model<false>);

    #[test]
    fn callers_get_what_they_may_expect_whatever_goes_wrong(sequential 1..100 => Model<true>);
}
