//! Proofs that locks are held, and what they must mean.

use std::collections::BTreeMap;

use super::server::Pid;
use super::world::World;
use crate::engine::machine::event::{CallerId, Event, GrantId, Proof, SessionId};
use crate::engine::machine::inquiry::Inquiry;
use crate::engine::machine::sessions::InFlight;
use crate::key::LockKey;
use crate::mode::Mode;
use crate::token::FencingToken;

/// What sessions are to see of other ones, which do not have it.
pub(crate) const MARK: LockKey = LockKey::from_u64(1_000_000);

/// Proofs that guards await, and tokens that they have.
#[derive(Debug, Default)]
pub(crate) struct Proofs {
    awaited: BTreeMap<CallerId, Awaited>,
    /// How many guards there have been of each key.
    guards: BTreeMap<LockKey, u64>,
    /// The last token of each key, and of which guard it is.
    tokens: BTreeMap<LockKey, (u64, FencingToken)>,
}

#[derive(Clone, Copy, Debug)]
struct Awaited {
    key: LockKey,
    grant: GrantId,
    guard: u64,
    proof: Proof,
}

impl Proofs {
    pub(super) fn granted(&mut self, key: Option<LockKey>) {
        *self.guards.entry(key.expect("a key was asked for")).or_default() += 1;
    }
}

impl World {
    pub(crate) fn prove(&mut self, key: LockKey, grant: GrantId, proof: Proof) -> CallerId {
        let caller = self.new_caller();
        self.reference.look(caller);
        let guard = self.proofs.guards.get(&key).copied().unwrap_or_default();
        self.proofs.awaited.insert(caller, Awaited { key, grant, guard, proof });
        self.step(Event::Prove { caller, key, grant, proof });
        caller
    }

    /// A guard is borrowed by those who await its proofs.
    pub(super) fn abandon_proofs(&mut self, key: LockKey, grant: GrantId) {
        let of_guard = |awaited: &Awaited| awaited.key == key && awaited.grant == grant;
        let awaited = self.proofs.awaited.extract_if(.., |_, awaited| of_guard(awaited));
        for (caller, _) in awaited.collect::<Vec<_>>() {
            self.abandon(caller, key);
        }
    }

    /// The server carries out what a session was told: whatever proves something is told to the
    /// session that has the lock, while it has it.
    pub(super) fn check_proofs(&self, id: SessionId, pid: Pid) {
        let session = self.machine.sessions.get(id);
        let Some(InFlight::Inquiries(sent)) = session.and_then(|session| session.in_flight())
        else {
            return;
        };
        let callers = sent.iter().filter(|sent| matches!(sent, Inquiry::Proof { .. }));
        for caller in callers.filter_map(|inquiry| inquiry.caller()) {
            let Awaited { key, grant, .. } = self.proofs.awaited[&caller];
            let guards = self.reference.guards();
            let guard = guards.iter().find(|(_, guard)| guard.grant == grant);
            let (_, guard) = guard.expect("a proof is one of a guard");
            let held = [guard.mode, Mode::Write].map(|mode| self.server.count(pid, key, mode));
            assert!(held.iter().any(|count| *count > 0), "{guard:?} of {key} is not of {pid}");
        }
    }

    pub(super) fn seen(&mut self, caller: CallerId, seen: bool) {
        let awaited = self.proofs.awaited.remove(&caller).expect("a proof is given once");
        self.reference.forget(caller);
        let Proof::Sees(mark) = awaited.proof else {
            panic!("{caller:?} wanted no mark but {awaited:?}");
        };
        // A probe that was cut short may have left a read lock.
        let claims = self.server.claims(mark);
        assert_eq!(seen, claims.iter().any(|(_, mode)| *mode == Mode::Write), "{mark}");
    }

    pub(super) fn minted(&mut self, caller: CallerId, token: FencingToken) {
        let awaited = self.proofs.awaited.remove(&caller).expect("a proof is given once");
        self.reference.forget(caller);
        let former = self.proofs.tokens.insert(awaited.key, (awaited.guard, token));
        assert!(
            former.is_none_or(|(guard, former)| {
                former < token || former == token && guard == awaited.guard
            }),
            "{token} after {former:?}"
        );
    }
}
