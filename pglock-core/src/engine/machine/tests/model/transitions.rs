//! The events of a case, and how often they occur.

use std::time::Duration;

use proptest::prelude::*;

use super::link::Stage;
use super::proofs::MARK;
use super::server::Server;
use super::world::{REMOTE, World};
use crate::driver::Reason;
use crate::engine::machine::event::{Patience, Proof};
use crate::engine::machine::run::Goal;
use crate::key::LockKey;
use crate::mode::Mode;

/// The next event. Numbers choose among what exists, modulo its count.
#[derive(Clone, Debug)]
pub(crate) enum Transition {
    Acquire(usize, Mode, Patience),
    /// Some of the keys, in their order, and each in this mode.
    Run(Vec<(usize, Mode)>, Goal),
    Abandon(usize),
    Release(usize, bool),
    Downgrade(usize),
    EndHandOvers(usize),
    Upgrade(usize, Patience),
    Look(Option<usize>),
    Check,
    /// A guard wants a proof.
    Prove(usize, bool),
    /// One session makes one move.
    Turn(usize, bool),
    /// Every session makes this many moves.
    Rounds(usize),
    Advance(u64),
    /// Only time passes.
    Rest,
    Remote(usize, usize, Remote),
    /// An operator cancels what a session is doing.
    Operator {
        nth: usize,
        done: usize,
        half: bool,
    },
    /// From now on, the server refuses operations on this key, or on none.
    Refuse(Option<usize>, Reason),
    /// From now on, sessions may cancel waits, or not.
    MayCancel(bool),
    Fault(Fault),
    Close,
}

/// What another process does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Remote {
    Try(Mode),
    Wait(Mode),
    Release,
    GiveUp,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    OpenFails { permanent: bool },
    Refuse { nth: usize, done: usize, half: bool },
    Kill { nth: usize, executed: bool },
    Cut { nth: usize },
    Silence { nth: usize },
    Reap { nth: usize, executed: bool },
}

/// `reads`: how many callers read for one that writes.
pub(crate) fn transitions(faults: u32, reads: u32) -> BoxedStrategy<Transition> {
    let mode = |reads| prop_oneof![reads => Just(Mode::Read), 1 => Just(Mode::Write)];
    let patience = prop_oneof![1 => Just(Patience::Try), 2 => Just(Patience::Wait)];
    let goal = prop_oneof![Just(Goal::All), Just(Goal::Any)];
    let nth = 0..12_usize;
    let remote = prop_oneof![
        2 => mode(1).prop_map(Remote::Try),
        2 => mode(1).prop_map(Remote::Wait),
        3 => Just(Remote::Release),
        1 => Just(Remote::GiveUp),
    ];
    let reason = prop_oneof![Just(Reason::Itself), Just(Reason::Unknown)];
    let choices = prop_oneof![
        60 => (0..3_usize, mode(reads), patience.clone()).prop_map(|(key, mode, patience)| Transition::Acquire(key, mode, patience)),
        12 => (prop::collection::vec((0..3_usize, mode(reads)), 1..5), goal).prop_map(|(wanted, goal)| Transition::Run(wanted, goal)),
        20 => nth.clone().prop_map(Transition::Abandon),
        40 => (nth.clone(), any::<bool>()).prop_map(|(nth, confirm)| Transition::Release(nth, confirm)),
        8 => nth.clone().prop_map(Transition::Downgrade),
        2 => nth.clone().prop_map(Transition::EndHandOvers),
        16 => (nth.clone(), patience).prop_map(|(nth, patience)| Transition::Upgrade(nth, patience)),
        100 => (nth.clone(), any::<bool>()).prop_map(|(nth, luck)| Transition::Turn(nth, luck)),
        40 => (1..6_usize).prop_map(Transition::Rounds),
        20 => prop_oneof![1..30_u64, 30..120_u64].prop_map(Transition::Advance),
        3 => Just(Transition::Rest),
        4 => prop::option::of(0..3_usize).prop_map(Transition::Look),
        2 => Just(Transition::Check),
        10 => (nth.clone(), any::<bool>()).prop_map(|(nth, token)| Transition::Prove(nth, token)),
        30 => (0..REMOTE.len(), 0..3_usize, remote).prop_map(|(who, key, remote)| Transition::Remote(who, key, remote)),
        3 => (0..4_usize, 0..4_usize, any::<bool>()).prop_map(|(nth, done, half)| Transition::Operator { nth, done, half }),
        2 => (prop::option::of(0..3_usize), reason).prop_map(|(key, reason)| Transition::Refuse(key, reason)),
        2 => any::<bool>().prop_map(Transition::MayCancel),
        1 => Just(Transition::Close),
    ];
    match faults {
        0 => choices.boxed(),
        faults => prop_oneof![
            330 => choices,
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
        (nth(), any::<bool>()).prop_map(|(nth, executed)| Fault::Kill { nth, executed }),
        nth().prop_map(|nth| Fault::Cut { nth }),
        nth().prop_map(|nth| Fault::Silence { nth }),
        (nth(), any::<bool>()).prop_map(|(nth, executed)| Fault::Reap { nth, executed }),
    ]
}

impl Transition {
    pub(crate) fn apply(self, world: &mut World, keys: &[LockKey]) {
        let key = |nth: usize| keys[nth % keys.len()];
        match self {
            Self::Acquire(nth, mode, patience) => {
                // Anything after the close is refused at once.
                world.acquire(key(nth), mode, patience);
            }
            Self::Run(nths, goal) => {
                let mut wanted: Vec<_> =
                    nths.iter().map(|(nth, mode)| (key(*nth), *mode)).collect();
                // Each key once; the order of the keys is one of several.
                wanted.sort_by_key(|(key, _)| *key);
                wanted.dedup_by_key(|(key, _)| *key);
                world.acquire_run(&wanted, goal);
            }
            Self::Abandon(nth) => {
                if let Some((waiter, key)) = choose(world.reference.unresolved(), nth) {
                    world.abandon(waiter, key);
                }
            }
            Self::Release(nth, confirm) => {
                if let Some((key, guard)) = choose(world.reference.free_guards(None), nth) {
                    world.release(key, guard.grant, confirm);
                }
            }
            Self::Downgrade(nth) => world.downgrade_one(nth),
            Self::EndHandOvers(nth) => world.end_hand_overs_of_one(nth),
            Self::Upgrade(nth, patience) => world.upgrade_one(nth, patience),
            Self::Look(nth) => {
                world.look(nth.map(key));
            }
            Self::Check => {
                world.check_server();
            }
            Self::Prove(nth, token) => prove_one(world, nth, token),
            Self::Turn(nth, luck) => {
                if let Some(id) = choose(world.movable(), nth) {
                    world.turn(id, luck);
                }
            }
            Self::Rounds(count) => world.rounds(count),
            Self::Advance(ms) => world.advance(Duration::from_millis(ms)),
            Self::Rest => world.come_to_rest(),
            Self::Remote(who, nth, remote) => remote.act(world, REMOTE[who], key(nth)),
            Self::Operator { nth, done, half } => {
                if let Some(id) = choose(world.find(is_running), nth) {
                    world.operator_cancels(id, done, half);
                }
            }
            Self::Refuse(nth, reason) => world.refuse_key(nth.map(key), reason),
            Self::MayCancel(may_cancel) => world.may_cancel = may_cancel,
            Self::Fault(fault) => fault.inject(world),
            Self::Close => world.close(),
        }
    }
}

fn prove_one(world: &mut World, nth: usize, token: bool) {
    if let Some((key, guard)) = choose(world.reference.guards(), nth) {
        let token = token && guard.mode == Mode::Write;
        let proof = if token { Proof::Token } else { Proof::Sees(MARK) };
        world.prove(key, guard.grant, proof);
    }
}

impl Remote {
    fn act(self, world: &mut World, pid: i32, key: LockKey) {
        let server = &mut world.server;
        let holds = |server: &Server| {
            [Mode::Read, Mode::Write].into_iter().find(|mode| server.count(pid, key, *mode) > 0)
        };
        match self {
            Self::GiveUp => server.leave_queue(pid),
            _ if server.is_waiting(pid) => {}
            Self::Release => {
                if let Some(mode) = holds(server) {
                    server.unlock(pid, key, mode);
                }
            }
            _ if holds(server).is_some() => {}
            Self::Try(mode) => {
                server.try_lock(pid, key, mode);
            }
            Self::Wait(mode) => {
                server.lock(pid, key, mode);
            }
        }
        world.note_contention();
    }
}

impl Fault {
    fn inject(self, world: &mut World) {
        let in_use = |world: &World| {
            world.find(|stage| !matches!(stage, Stage::Connecting | Stage::Closing | Stage::Broken))
        };
        match self {
            Self::OpenFails { permanent } => world.open_fails(permanent),
            Self::Refuse { nth, done, half } => {
                if let Some(id) = choose(world.find(is_running), nth) {
                    world.refuse(id, done, half);
                }
            }
            Self::Silence { nth } => {
                if let Some(id) = choose(world.find(|stage| *stage == Stage::Waiting), nth) {
                    world.silence(id);
                }
            }
            Self::Kill { nth, executed } => {
                if let Some(id) = choose(in_use(world), nth) {
                    world.kill(id, executed);
                }
            }
            Self::Cut { nth } => {
                if let Some(id) = choose(in_use(world), nth) {
                    world.cut(id);
                }
            }
            Self::Reap { nth, executed } => world.reap(nth, executed),
        }
    }
}

/// Whether the server is executing something for the session.
fn is_running(stage: &Stage) -> bool {
    let sent = matches!(stage, Stage::SentHoldings | Stage::SentLook | Stage::SentToken);
    sent || matches!(stage, Stage::Sent(_) | Stage::Waiting)
}

pub(super) fn choose<T>(mut from: Vec<T>, nth: usize) -> Option<T> {
    match from.len() {
        0 => None,
        count => Some(from.swap_remove(nth % count)),
    }
}
