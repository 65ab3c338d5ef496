//! Statements that the server refused, and what was done of them all the same.

use std::collections::HashSet;

use super::Machine;
use crate::driver::{Holding, Reason};
use crate::engine::machine::event::{GrantId, Refusal, SessionId};
use crate::engine::machine::key::Release;
use crate::engine::machine::sessions::{Op, Ops, Phase};
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

impl Machine {
    pub(super) fn refused(&mut self, id: SessionId, refusal: Refusal, step: &mut Step<'_>) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let is_cancelled = refusal.reason == Reason::Cancelled;
        session.phase = match &mut session.phase {
            Phase::Running(ops) => match std::mem::take(ops)[..] {
                [Op::Lock { key, .. }] if cfg!(pglock_seed_bug = "skip_cleanup") => {
                    session.cancel_since = None;
                    self.sessions.rest(id, step.now);
                    return self.with(key, step, |e, cx| e.waited(id, Some(&refusal), cx));
                }
                [failed @ Op::Lock { .. }] => {
                    session.phase = Phase::CleanUp { failed, refusal, running: false };
                    return self.sessions.restart_lease(id, step.now);
                }
                ref ops => {
                    let doubtful = Ops::from_slice(ops);
                    Phase::Reconcile { doubtful, refusal: Some(refusal), running: false }
                }
            },
            Phase::Inquiring(inquiries) if is_cancelled => {
                session.inquiries.append(inquiries);
                Phase::Idle
            }
            Phase::Inquiring(inquiries) => {
                Self::fail_inquiries(std::mem::take(inquiries), &refusal.error, step);
                Phase::Idle
            }
            // Whether it is in order still is for its lease to tell.
            Phase::Reconcile { doubtful, .. } if doubtful.is_empty() => Phase::Idle,
            Phase::Reconcile { running, .. } | Phase::CleanUp { running, .. } if is_cancelled => {
                *running = false;
                return;
            }
            // Not even the clean-up works: when in doubt, close.
            _ => return self.doubt(id, refusal.error, step),
        };
    }

    /// Settles the operations of a failed statement by what the session turns out to hold.
    pub(super) fn reconcile(&mut self, id: SessionId, held: Vec<Holding>, step: &mut Step<'_>) {
        let mut found: HashSet<_> = held.iter().copied().collect();
        let mut take = |key: LockKey, mode: Mode| found.remove(&Holding { key, mode });
        let kept = self.undo_downgrades(id, &held, step);
        // What it held before it must hold still, but for what it was giving back.
        for (key, state) in &self.keys {
            for grant in state.grants.iter().filter(|grant| grant.session == id) {
                if !take(*key, grant.mode) && grant.release != Release::Sent {
                    return self.doubt(id, missing(), step);
                }
            }
        }
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let phase = std::mem::replace(&mut session.phase, Phase::Running(Ops::new()));
        let Phase::Reconcile { doubtful, refusal, .. } = phase else {
            return;
        };
        let taken: Vec<_> = doubtful
            .iter()
            .map(|op| match op {
                Op::Try { key, mode } | Op::Lock { key, mode } => take(*key, *mode),
                _ => false,
            })
            .collect();
        let mut strays: Vec<_> = found.into_iter().collect();
        strays.sort_unstable_by_key(|stray| (stray.key, stray.mode));
        let undone: Ops = doubtful
            .iter()
            .zip(&taken)
            .filter(|(op, taken)| !**taken && self.is_undone(op, &held, &kept))
            .map(|(op, _)| *op)
            .collect();
        let verdict = match &refusal {
            Some(refusal) if undone.len() > 1 => {
                self.send_again(id, &undone, doubtful.len(), refusal.reason);
                Verdict::Again
            }
            Some(refusal) => Verdict::Refused(refusal),
            None => Verdict::Missed,
        };
        for (op, taken) in doubtful.iter().zip(taken) {
            match taken || !undone.contains(op) {
                true => self.done(id, *op, true, step),
                false => self.not_done(id, *op, verdict, step),
            }
        }
        for Holding { key, mode } in strays {
            let forget = Op::Forget { key, mode };
            match verdict {
                Verdict::Refused(refusal)
                    if refusal.reason != Reason::Cancelled && undone.contains(&forget) =>
                {
                    self.retire(id, step);
                }
                // Before anything else is done with the key.
                _ => self.sessions.push_first(id, forget),
            }
        }
        match self.sessions.get_mut(id) {
            Some(session) if doubtful.is_empty() => {
                session.phase = Phase::Idle;
                self.sessions.note_heartbeat(id);
            }
            _ => self.sessions.rest(id, step.now),
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
    fn is_undone(&self, op: &Op, held: &[Holding], kept: &[(LockKey, GrantId)]) -> bool {
        let is_held = |key, mode| held.contains(&Holding { key, mode });
        match *op {
            Op::Try { .. } | Op::Probe { .. } | Op::Lock { .. } | Op::Cancel { .. } => true,
            Op::Unlock { key, grant, .. } => self.has(key, grant, is_held),
            Op::Downgrade { key, grant } => kept.contains(&(key, grant)),
            Op::Forget { key, mode } => is_held(key, mode),
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

    /// Of the operations that may have been done, those that turned a write lock into a read lock
    /// and were not.
    fn undo_downgrades(
        &mut self,
        id: SessionId,
        held: &[Holding],
        step: &mut Step<'_>,
    ) -> Vec<(LockKey, GrantId)> {
        let Some(Phase::Reconcile { doubtful, .. }) = self.sessions.get(id).map(|s| &s.phase)
        else {
            return Vec::new();
        };
        let undone: Vec<_> = doubtful
            .iter()
            .filter_map(|op| match *op {
                Op::Downgrade { key, grant } => Some((key, grant)),
                _ => None,
            })
            .filter(|(key, _)| held.contains(&Holding { key: *key, mode: Mode::Write }))
            .collect();
        for (key, grant) in &undone {
            self.with(*key, step, |state, _| state.not_downgraded(*grant));
        }
        undone
    }

    /// Whether the server has this grant still.
    fn has(&self, key: LockKey, id: GrantId, is_held: impl Fn(LockKey, Mode) -> bool) -> bool {
        let state = self.keys.get(&key);
        let grant = state.and_then(|state| state.grants.iter().find(|grant| grant.id == id));
        grant.is_some_and(|grant| is_held(key, grant.mode))
    }
}

/// Though it is the session that it was granted to.
pub(super) fn missing() -> Error {
    Error::new(
        ErrorKind::Connection,
        "a lock that the session held is gone: something else gave it back in the same server session",
    )
}
