//! The argument for fences, as a model: every interleaving of three holders of one lock, their
//! sessions and their transactions is tried.
//!
//! `DESIGN.md` has the argument in words. The model can also build fences as they must not be, and
//! finds the interleaving that breaks each of them.

use std::collections::HashSet;

use self::Mode::{Read, Write};
use self::Proof::{Beacon, BeforeTheGate, Nothing, Session};

const HOLDERS: usize = 3;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Read,
    Write,
}

/// How a transaction finds out whether the lock is still held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Proof {
    /// The session that holds the lock answers, while the transaction has the gate.
    Session,
    /// Another lock of that session, held from its beginning to its end, is taken.
    Beacon,
    /// As `Session`, but before the transaction asks for the gate.
    BeforeTheGate,
    Nothing,
}

/// What is modelled.
#[derive(Clone, Copy, Debug)]
struct Rules {
    modes: [Mode; HOLDERS],
    /// Holders with the same session are of one process, and may pass the lock on.
    sessions: [usize; HOLDERS],
    has_gate: bool,
    proof: Proof,
    /// Whether a lock is handed out only once the gate was seen free.
    barrier: bool,
    /// Whether a transaction reads from the snapshot of its first statement.
    old_snapshot: bool,
}

/// A server session. When it ends, it loses its locks one by one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct ServerSession {
    is_ending: bool,
    lost_lock: bool,
    lost_beacon: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Guard {
    #[default]
    None,
    /// The server has granted the lock.
    AtTheBarrier,
    /// Believed in from now on, whatever becomes of the session.
    HandedOut,
    Released,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Tx {
    #[default]
    None,
    AwaitsGate,
    HasGate,
    Fenced,
    Written,
    Committed,
    RolledBack,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Holder {
    guard: Guard,
    /// When the lock was granted, among all grants.
    turn: Option<u8>,
    tx: Tx,
    /// Whether an earlier holder has committed since the first statement of the transaction.
    is_stale: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct World {
    sessions: [ServerSession; HOLDERS],
    holders: [Holder; HOLDERS],
    turns: u8,
    /// An earlier holder has committed after a later one.
    out_of_order: bool,
    /// The transaction of a later holder has not seen what an earlier one committed.
    missed: bool,
    /// An earlier holder has committed after a later one was handed the lock.
    late: bool,
}

impl World {
    /// Every world that one step leads to.
    fn next(&self, rules: &Rules) -> Vec<Self> {
        let sessions = (0..HOLDERS).flat_map(|session| self.session_ends(session, rules));
        let guards = (0..HOLDERS).filter_map(|who| self.guard_step(who, rules));
        let transactions = (0..HOLDERS).flat_map(|who| self.tx_steps(who, rules));
        sessions.chain(guards).chain(transactions).collect()
    }

    fn session_ends(&self, session: usize, rules: &Rules) -> Vec<Self> {
        // Its end matters to those who have the lock by it.
        let mut users = (0..HOLDERS).filter(|who| rules.sessions[*who] == session);
        if !users.any(|who| self.has_lock(who)) {
            return Vec::new();
        }
        let step = |change: fn(&mut ServerSession)| {
            let mut world = self.clone();
            change(&mut world.sessions[session]);
            world
        };
        match self.sessions[session].is_ending {
            // It runs no statement any more.
            false => vec![step(|session| session.is_ending = true)],
            true if rules.proof == Beacon => vec![
                step(|session| session.lost_lock = true),
                step(|session| session.lost_beacon = true),
            ],
            true => vec![step(|session| session.lost_lock = true)],
        }
    }

    fn guard_step(&self, who: usize, rules: &Rules) -> Option<Self> {
        let mut world = self.clone();
        let holder = &mut world.holders[who];
        holder.guard = match holder.guard {
            Guard::None if self.lock_is_free(who, rules) => {
                world.turns += 1;
                holder.turn = Some(world.turns);
                if rules.barrier { Guard::AtTheBarrier } else { Guard::HandedOut }
            }
            Guard::AtTheBarrier if self.gate_is_free(who, rules) => Guard::HandedOut,
            // Not while a fence borrows it.
            Guard::HandedOut if !matches!(holder.tx, Tx::AwaitsGate | Tx::HasGate) => {
                Guard::Released
            }
            _ => return None,
        };
        Some(world)
    }

    fn tx_steps(&self, who: usize, rules: &Rules) -> Vec<Self> {
        let holder = self.holders[who];
        let session = self.sessions[rules.sessions[who]];
        let to = |tx| {
            let mut world = self.clone();
            world.holders[who].tx = tx;
            world
        };
        let if_proven = |proven: bool, tx| vec![to(if proven { tx } else { Tx::RolledBack })];
        match holder.tx {
            Tx::None if holder.guard == Guard::HandedOut => {
                let proven = rules.proof != BeforeTheGate || !session.is_ending;
                if_proven(proven, Tx::AwaitsGate)
            }
            Tx::AwaitsGate if self.gate_is_free(who, rules) => vec![to(Tx::HasGate)],
            Tx::HasGate => {
                let proven = match rules.proof {
                    Session => !session.is_ending,
                    Beacon => !session.lost_beacon,
                    BeforeTheGate | Nothing => true,
                };
                if_proven(proven, Tx::Fenced)
            }
            Tx::Fenced => {
                let mut world = to(Tx::Written);
                world.missed |= rules.old_snapshot && holder.is_stale;
                vec![world]
            }
            Tx::Written => vec![self.commit(who, rules), to(Tx::RolledBack)],
            _ => Vec::new(),
        }
    }

    fn commit(&self, who: usize, rules: &Rules) -> Self {
        let mut world = self.clone();
        world.holders[who].tx = Tx::Committed;
        for other in rules.rivals(who) {
            let later = &mut world.holders[other];
            if later.turn > self.holders[who].turn {
                world.out_of_order |= later.tx == Tx::Committed;
                world.missed |= matches!(later.tx, Tx::Written | Tx::Committed);
                world.late |= matches!(later.guard, Guard::HandedOut | Guard::Released);
                later.is_stale = later.tx != Tx::None;
            }
        }
        world
    }

    /// Whether the server grants the lock, or another holder of the same process passes it on.
    fn lock_is_free(&self, who: usize, rules: &Rules) -> bool {
        let is_in_the_way =
            |other: usize| self.has_lock(other) && !self.sessions[rules.sessions[other]].lost_lock;
        !self.sessions[rules.sessions[who]].is_ending && !rules.rivals(who).any(is_in_the_way)
    }

    /// As far as its process knows.
    fn has_lock(&self, who: usize) -> bool {
        matches!(self.holders[who].guard, Guard::AtTheBarrier | Guard::HandedOut)
    }

    fn gate_is_free(&self, who: usize, rules: &Rules) -> bool {
        let has_gate =
            |other: usize| matches!(self.holders[other].tx, Tx::HasGate | Tx::Fenced | Tx::Written);
        !rules.has_gate || !rules.rivals(who).any(has_gate)
    }
}

impl Rules {
    /// The other holders who may not have the lock together with this one, nor the gate.
    fn rivals(&self, who: usize) -> impl Iterator<Item = usize> {
        let modes = self.modes;
        let conflict = move |other: &usize| modes[who] == Write || modes[*other] == Write;
        (0..HOLDERS).filter(move |other| *other != who).filter(conflict)
    }
}

/// Whether something holds in every world that there is.
fn always(rules: Rules, holds: impl Fn(&World) -> bool) -> bool {
    let mut known = HashSet::from([World::default()]);
    let mut left = vec![World::default()];
    while let Some(world) = left.pop() {
        if !holds(&world) {
            return false;
        }
        let new = world.next(&rules).into_iter().filter(|next| known.insert(next.clone()));
        left.extend(new);
    }
    assert!(known.len() > 5_000, "{} worlds", known.len());
    true
}

/// With holders in processes of their own, and with two of them in one.
fn everywhere(rules: Rules, holds: impl Fn(&World) -> bool) -> bool {
    let places = [
        ([Write, Write, Write], [0, 1, 2]),
        ([Write, Write, Read], [0, 1, 2]),
        ([Write, Read, Read], [0, 1, 2]),
        ([Write, Write, Write], [0, 0, 1]),
    ];
    places.into_iter().all(|(modes, sessions)| always(Rules { modes, sessions, ..rules }, &holds))
}

/// What `guard.fence(…)` does.
const FENCE: Rules = Rules {
    modes: [Write; HOLDERS],
    sessions: [0, 1, 2],
    has_gate: true,
    proof: Session,
    barrier: false,
    old_snapshot: false,
};

#[test]
fn no_stale_write_is_committed_after_that_of_a_successor() {
    for barrier in [false, true] {
        assert!(everywhere(Rules { barrier, ..FENCE }, |world| !world.out_of_order));
    }
}

#[test]
fn fenced_transaction_sees_what_earlier_ones_commit() {
    assert!(everywhere(FENCE, |world| !world.missed));
    // This is why a fence is refused there, unless it is asked for by name.
    assert!(!everywhere(Rules { old_snapshot: true, ..FENCE }, |world| !world.missed));
}

#[test]
fn barrier_shows_everything_to_whoever_is_handed_the_lock() {
    for old_snapshot in [false, true] {
        let rules = Rules { barrier: true, old_snapshot, ..FENCE };
        assert!(everywhere(rules, |world| !world.missed && !world.late));
    }
    assert!(!everywhere(FENCE, |world| !world.late));
}

#[test]
fn each_part_of_a_fence_is_needed() {
    for proof in [Beacon, BeforeTheGate, Nothing] {
        for barrier in [false, true] {
            let rules = Rules { proof, barrier, ..FENCE };
            assert!(!always(rules, |world| !world.out_of_order), "{rules:?}");
        }
    }
    assert!(!always(Rules { has_gate: false, ..FENCE }, |world| !world.out_of_order));
}
