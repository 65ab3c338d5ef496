//! Statements that the server refused, and what was done of them all the same.

use std::collections::HashSet;

use super::Machine;
use crate::driver::{Holding, Reason};
use crate::engine::machine::event::{GrantId, Refusal, SessionId};
use crate::engine::machine::key::Release;
use crate::engine::machine::sessions::{Doubt, InFlight, Op, Ops};
use crate::engine::machine::step::Step;
use crate::error::{Error, ErrorKind};
use crate::key::LockKey;
use crate::mode::Mode;

/// What becomes of the operations of a refused statement that were not done.
#[derive(Clone, Copy)]
enum Verdict<'a> {
    /// Several were not: they are sent again, in smaller statements.
    Again,
    /// The server refuses the only one.
    Refused(&'a Refusal),
    /// Nothing was refused.
    Missed,
}

/// What a session turns out to hold.
struct Found {
    held: Vec<Holding>,
    /// What no grant accounts for.
    strays: HashSet<Holding>,
    /// Grants that were to become read locks, and are write locks still.
    kept: Vec<(LockKey, GrantId)>,
}

impl Found {
    fn holds(&self, key: LockKey, mode: Mode) -> bool {
        self.held.contains(&Holding { key, mode })
    }

    /// Whether the operation has taken a lock, which is no stray then.
    fn take(&mut self, op: &Op) -> bool {
        match *op {
            Op::Try { key, mode } | Op::Lock { key, mode } => {
                self.strays.remove(&Holding { key, mode })
            }
            _ => false,
        }
    }
}

impl Machine {
    pub(super) fn refused(&mut self, id: SessionId, refusal: Refusal, step: &mut Step<'_>) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let is_cancelled = refusal.reason == Reason::Cancelled;
        match session.take_answered() {
            Some(InFlight::Operations(ops)) => match ops[..] {
                [Op::Lock { key, .. }] if cfg!(pglock_seed_bug = "skip_cleanup") => {
                    session.cancel_since = None;
                    self.sessions.rest(id, step.now);
                    self.with(key, step, |state, cx| state.waited(id, Some(&refusal), cx));
                }
                [failed @ Op::Lock { .. }] => {
                    session.rest_in_doubt(Doubt::Wait { failed, refusal });
                    self.sessions.restart_lease(id, step.now);
                }
                _ => session.rest_in_doubt(Doubt::Operations { ops, refusal: Some(refusal) }),
            },
            Some(InFlight::Inquiries(mut inquiries)) => {
                session.rest();
                match is_cancelled {
                    true => session.inquiries.append(&mut inquiries),
                    false => Self::fail_inquiries(inquiries, &refusal.error, step),
                }
            }
            // It is asked once more. Of a heartbeat, the lease tells whether all is in order.
            Some(InFlight::Holdings | InFlight::ReleaseAll) if is_cancelled => session.rest(),
            Some(InFlight::Holdings) if !session.is_in_doubt() => session.rest(),
            // Not even the clean-up works: when in doubt, close.
            _ => self.doubt(id, refusal.error, step),
        }
    }

    /// Settles the operations of a failed statement by what the session turns out to hold. After a
    /// heartbeat there are none.
    pub(super) fn reconcile(&mut self, id: SessionId, held: Vec<Holding>, step: &mut Step<'_>) {
        let Some(mut found) = self.compare(id, held) else {
            return self.doubt(id, missing(), step);
        };
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.take_answered();
        let (ops, refusal) = match session.take_doubt() {
            Some(Doubt::Operations { ops, refusal }) => (ops, refusal),
            _ => (Ops::new(), None),
        };
        let taken: Vec<_> = ops.iter().map(|op| found.take(op)).collect();
        let undone: Ops = (ops.iter().zip(&taken))
            .filter(|(op, taken)| !**taken && self.is_undone(op, &found))
            .map(|(op, _)| *op)
            .collect();
        let verdict = match &refusal {
            Some(refusal) if undone.len() > 1 => {
                self.send_again(id, &undone, ops.len(), refusal.reason);
                Verdict::Again
            }
            Some(refusal) => Verdict::Refused(refusal),
            None => Verdict::Missed,
        };
        for (op, taken) in ops.iter().zip(taken) {
            match taken || !undone.contains(op) {
                true => self.done(id, *op, true, step),
                false => self.not_done(id, *op, verdict, step),
            }
        }
        self.forget_strays(id, found, &undone, verdict, step);
        match self.sessions.get_mut(id) {
            Some(session) if ops.is_empty() => {
                session.rest();
                self.sessions.note_heartbeat(id);
            }
            _ => self.sessions.rest(id, step.now),
        }
    }

    /// Compares what the session holds with its grants; `None` if one is missing. What it held
    /// before it must hold still, but for what it was to release.
    fn compare(&mut self, id: SessionId, held: Vec<Holding>) -> Option<Found> {
        let strays = held.iter().copied().collect();
        let mut found = Found { held, strays, kept: Vec::new() };
        for (key, state) in &mut self.keys {
            for grant in state.grants.iter_mut().filter(|grant| grant.session == id) {
                if found.holds(*key, Mode::Write) && grant.was_not_downgraded() {
                    found.kept.push((*key, grant.id));
                }
                let is_held = found.strays.remove(&Holding { key: *key, mode: grant.mode });
                if !is_held && grant.release != Release::Sent {
                    return None;
                }
            }
        }
        Some(found)
    }

    /// Releases what the session holds beside its grants, before anything else is done with the
    /// keys.
    fn forget_strays(
        &mut self,
        id: SessionId,
        found: Found,
        undone: &[Op],
        verdict: Verdict<'_>,
        step: &mut Step<'_>,
    ) {
        let mut strays: Vec<_> = found.strays.into_iter().collect();
        strays.sort_unstable_by_key(|stray| (stray.key, stray.mode));
        for Holding { key, mode } in strays {
            let forget = Op::Forget { key, mode };
            match verdict {
                Verdict::Refused(refusal)
                    if refusal.reason != Reason::Cancelled && undone.contains(&forget) =>
                {
                    self.retire(id, step);
                }
                _ => self.sessions.push_first(id, forget),
            }
        }
    }

    /// The session has a lock that it cannot give back: a try or a probe of that key would be let
    /// past a writer that waits. What it was to ask for is asked for by another one.
    fn retire(&mut self, id: SessionId, step: &mut Step<'_>) {
        for key in self.sessions.retire(id) {
            self.with(key, step, |state, cx| state.ask_missed(id, cx));
        }
    }

    /// Whether an operation that has taken nothing may not have been done.
    fn is_undone(&self, op: &Op, found: &Found) -> bool {
        match *op {
            Op::Try { .. } | Op::Probe { .. } | Op::Lock { .. } | Op::Cancel { .. } => true,
            Op::Unlock { key, grant, .. } => self.has(key, grant, found),
            Op::Downgrade { key, grant } => found.kept.contains(&(key, grant)),
            Op::Forget { key, mode } => found.holds(key, mode),
            Op::Ping => false,
        }
    }

    /// Sends what was not done once more, before anything else, in smaller statements: one of these
    /// operations is at fault, and the others shall not suffer from it.
    fn send_again(&mut self, id: SessionId, undone: &[Op], refused: usize, reason: Reason) {
        if let Some(session) = self.sessions.get_mut(id)
            && reason != Reason::Cancelled
        {
            session.narrow(refused);
        }
        for op in undone.iter().rev() {
            // Entries see to the others.
            if let Op::Try { .. } | Op::Probe { .. } | Op::Cancel { .. } = op {
                self.sessions.push_first(id, *op);
            }
        }
    }

    fn not_done(&mut self, id: SessionId, op: Op, verdict: Verdict<'_>, step: &mut Step<'_>) {
        match (op, verdict) {
            (Op::Unlock { key, grant, .. }, Verdict::Refused(refusal)) => {
                self.with(key, step, |state, cx| state.unlock_refused(grant, refusal, cx));
            }
            (Op::Unlock { key, grant, .. }, _) => {
                self.with(key, step, |state, cx| state.unlock_again(grant, cx));
            }
            (Op::Downgrade { key, grant }, Verdict::Again) => {
                self.with(key, step, |state, cx| state.downgrade_again(grant, cx));
            }
            (Op::Downgrade { key, grant }, Verdict::Refused(refusal)) => {
                let reason = refusal.reason;
                self.with(key, step, |state, cx| state.downgrade_refused(grant, reason, cx));
            }
            (_, Verdict::Again) => {}
            (Op::Try { key, .. } | Op::Probe { key }, Verdict::Refused(refusal)) => {
                self.with(key, step, |state, cx| state.ask_refused(id, refusal, cx));
            }
            // The server took it back while its answer was on the way: ask again.
            (Op::Lock { key, .. }, _) => {
                self.with(key, step, |state, cx| state.ask_missed(id, cx));
            }
            (Op::Cancel { .. }, Verdict::Refused(refusal))
                if refusal.reason == Reason::Cancelled =>
            {
                self.sessions.push_first(id, op);
            }
            (Op::Cancel { target, .. }, Verdict::Refused(refusal)) => {
                self.sessions.cancel_refused(id, target, &refusal.error, step);
            }
            _ => {}
        }
    }

    /// Whether the server has this grant still.
    fn has(&self, key: LockKey, id: GrantId, found: &Found) -> bool {
        let state = self.keys.get(&key);
        let grant = state.and_then(|state| state.grants.iter().find(|grant| grant.id == id));
        grant.is_some_and(|grant| found.holds(key, grant.mode))
    }
}

/// Though it is the session that it was granted to.
pub(super) fn missing() -> Error {
    Error::new(
        ErrorKind::Connection,
        "a lock that the session held is gone: something else gave it back in the same server session",
    )
}
