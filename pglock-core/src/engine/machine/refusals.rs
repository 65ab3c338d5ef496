//! Handles statements that the server refused: parts of them may have taken effect.

use std::collections::HashSet;

use super::Machine;
use crate::driver::{Holding, Reason};
use crate::engine::machine::event::{GrantId, Refusal, SessionId};
use crate::engine::machine::inquiry::Inquiry;
use crate::engine::machine::key::Release;
use crate::engine::machine::sessions::{Doubt, Errand, Errands, InFlight};
use crate::engine::machine::step::Step;
use crate::error::{Error, ErrorKind};
use crate::key::LockKey;
use crate::mode::Mode;

/// What happens to the errands of a refused statement that had no effect.
#[derive(Clone, Copy)]
enum Verdict<'a> {
    /// There are several: they are sent again, in smaller statements.
    Again,
    /// There is only one: the server refuses it.
    Refused(&'a Refusal),
    /// Nothing was refused.
    Missed,
}

impl<'a> Verdict<'a> {
    fn refusal(self) -> Option<&'a Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Again | Self::Missed => None,
        }
    }
}

/// What the session holds, according to the server.
struct Found {
    held: Vec<Holding>,
    /// Locks without a grant.
    strays: HashSet<Holding>,
    /// Grants that are still write locks, although they were to become read locks.
    kept: Vec<(LockKey, GrantId)>,
}

impl Found {
    fn holds(&self, key: LockKey, mode: Mode) -> bool {
        self.held.contains(&Holding { key, mode })
    }

    /// Returns whether the operation has taken a lock; if so, that lock is no stray.
    fn take(&mut self, errand: &Errand) -> bool {
        match *errand {
            Errand::TryLock { key, mode, .. } | Errand::Lock { key, mode } => {
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
            Some(InFlight::Errands(errands)) => match errands[..] {
                [Errand::Lock { key, .. }] if cfg!(pglock_seed_bug = "skip_cleanup") => {
                    session.wait_ends();
                    self.sessions.rest(id, step.now);
                    self.with(key, step, |state, cx| state.waited(id, Some(&refusal), cx));
                }
                [Errand::Lock { key, .. }] => {
                    session.rest_in_doubt(Doubt::Wait { key, refusal });
                    self.sessions.restart_lease(id, step.now);
                }
                _ => session.rest_in_doubt(Doubt::Errands { errands, refusal: Some(refusal) }),
            },
            Some(InFlight::Inquiries(inquiries)) => {
                // Before the session does anything else: it must not wait while it holds a lock.
                match inquiries.iter().any(Inquiry::may_leave_a_lock) {
                    true => session
                        .rest_in_doubt(Doubt::Errands { errands: Errands::new(), refusal: None }),
                    false => session.rest(),
                }
                match is_cancelled {
                    true => session.inquire_again(inquiries),
                    false => Self::fail_inquiries(inquiries, &refusal.error, step),
                }
            }
            // The question is repeated. If it was a heartbeat, the lease shows whether the session
            // lives.
            Some(InFlight::Holdings | InFlight::ReleaseAll) if is_cancelled => session.rest(),
            Some(InFlight::Holdings) if !session.is_in_doubt() => session.rest(),
            // Even the clean-up fails: when in doubt, close.
            _ => self.doubt(id, refusal.error, step),
        }
    }

    /// Settles the errands of a failed statement by what the session actually holds. After a
    /// heartbeat, there are none.
    pub(super) fn reconcile(&mut self, id: SessionId, held: Vec<Holding>, step: &mut Step<'_>) {
        let Some(mut found) = self.compare(id, held) else {
            return self.doubt(id, missing(), step);
        };
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.take_answered();
        let (errands, refusal) = match session.take_doubt() {
            Some(Doubt::Errands { errands, refusal }) => (errands, refusal),
            _ => (Errands::new(), None),
        };
        let taken: Vec<_> = errands.iter().map(|errand| found.take(errand)).collect();
        let undone: Errands = (errands.iter().zip(&taken))
            .filter(|(errand, taken)| !**taken && self.is_undone(errand, &found))
            .map(|(errand, _)| *errand)
            .collect();
        let verdict = match &refusal {
            Some(refusal) if undone.len() > 1 => {
                self.send_again(id, &undone, errands.len(), refusal.reason);
                Verdict::Again
            }
            Some(refusal) => Verdict::Refused(refusal),
            None => Verdict::Missed,
        };
        for (errand, taken) in errands.iter().zip(taken) {
            match taken || !undone.contains(errand) {
                // What is not a write lock by now is a read lock.
                true => self.done(id, *errand, !matches!(errand, Errand::LetIn { .. }), step),
                false => self.not_done(id, *errand, verdict, step),
            }
        }
        self.forget_strays(id, found, &undone, verdict, step);
        match self.sessions.get_mut(id) {
            Some(session) if errands.is_empty() => {
                session.rest();
                self.sessions.note_heartbeat(id);
            }
            _ => self.sessions.rest(id, step.now),
        }
    }

    /// Compares what the session holds with its grants; `None` if one is missing. Earlier grants
    /// must still be held, except those that were being released.
    fn compare(&mut self, id: SessionId, held: Vec<Holding>) -> Option<Found> {
        let strays = held.iter().copied().collect();
        let mut found = Found { held, strays, kept: Vec::new() };
        for (key, state) in &mut self.keys {
            for grant in state.grants.iter_mut().filter(|grant| grant.session == id) {
                if found.holds(*key, Mode::Write) && grant.was_not_downgraded() {
                    found.kept.push((*key, grant.id));
                }
                if found.holds(*key, Mode::Write) {
                    grant.was_upgraded();
                }
                let is_held = found.strays.remove(&Holding { key: *key, mode: grant.mode });
                if !is_held && grant.release != Release::Sent {
                    return None;
                }
            }
        }
        Some(found)
    }

    /// Releases locks without a grant before anything else happens to their keys.
    fn forget_strays(
        &mut self,
        id: SessionId,
        found: Found,
        undone: &[Errand],
        verdict: Verdict<'_>,
        step: &mut Step<'_>,
    ) {
        let mut strays: Vec<_> = found.strays.into_iter().collect();
        strays.sort_unstable_by_key(|stray| (stray.key, stray.mode));
        for Holding { key, mode } in strays {
            let forget = Errand::Forget { key, mode };
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

    /// The session has a lock that it cannot release: the server would let its tries and probes of
    /// that key past a waiting writer. Another session takes over its requests.
    fn retire(&mut self, id: SessionId, step: &mut Step<'_>) {
        for key in self.sessions.retire(id) {
            self.with(key, step, |state, cx| state.ask_missed(id, cx));
        }
    }

    /// Whether an errand that took no lock may have had no effect.
    fn is_undone(&self, errand: &Errand, found: &Found) -> bool {
        match *errand {
            Errand::TryLock { .. }
            | Errand::Probe { .. }
            | Errand::Lock { .. }
            | Errand::Cancel { .. } => true,
            Errand::Unlock { key, grant, .. } => self.has(key, grant, found),
            Errand::Downgrade { key, grant } | Errand::LetIn { key, grant } => {
                found.kept.contains(&(key, grant))
            }
            Errand::Upgrade { key, .. } => !found.holds(key, Mode::Write),
            Errand::Forget { key, mode } => found.holds(key, mode),
            Errand::Linger { .. } | Errand::Ping => false,
        }
    }

    /// Repeats the errands that had no effect before anything else, in smaller statements: one of
    /// them is at fault, and the others must not suffer from it.
    fn send_again(&mut self, id: SessionId, undone: &[Errand], refused: usize, reason: Reason) {
        if let Some(session) = self.sessions.get_mut(id)
            && reason != Reason::Cancelled
        {
            session.narrow(refused);
        }
        for errand in undone.iter().rev() {
            // The states of their keys repeat the others. What is left of a run is not sent
            // again: it would not depend on what was done of it.
            if let Errand::TryLock { run: None, .. }
            | Errand::Probe { .. }
            | Errand::Cancel { .. } = errand
            {
                self.sessions.push_first(id, *errand);
            }
        }
    }

    fn not_done(
        &mut self,
        id: SessionId,
        errand: Errand,
        verdict: Verdict<'_>,
        step: &mut Step<'_>,
    ) {
        match (errand, verdict) {
            (Errand::Unlock { key, grant, .. }, Verdict::Refused(refusal)) => {
                self.with(key, step, |state, cx| state.unlock_refused(grant, refusal, cx));
            }
            (Errand::Unlock { key, grant, .. }, _) => {
                self.with(key, step, |state, cx| state.unlock_again(grant, cx));
            }
            (Errand::Downgrade { key, grant } | Errand::LetIn { key, grant }, verdict) => {
                let reason = verdict.refusal().map(|refusal| refusal.reason);
                self.with(key, step, |state, cx| state.downgrade_failed(grant, reason, cx));
            }
            (Errand::TryLock { key, run: Some(_), .. }, Verdict::Again) => {
                self.with(key, step, |state, cx| state.ask_missed(id, cx));
            }
            (Errand::Upgrade { key, grant }, verdict) => {
                let refusal = verdict.refusal();
                self.with(key, step, |state, cx| state.upgrade_failed(grant, refusal, cx));
            }
            (_, Verdict::Again) => {}
            (Errand::TryLock { key, .. } | Errand::Probe { key }, Verdict::Refused(refusal)) => {
                self.with(key, step, |state, cx| state.ask_refused(id, refusal, cx));
            }
            // The server released the lock while its answer was on the way: ask again.
            (Errand::Lock { key, .. }, _) => {
                self.with(key, step, |state, cx| state.ask_missed(id, cx));
            }
            (Errand::Cancel { .. }, Verdict::Refused(refusal))
                if refusal.reason == Reason::Cancelled =>
            {
                self.sessions.push_first(id, errand);
            }
            (Errand::Cancel { target, .. }, Verdict::Refused(refusal)) => {
                self.sessions.cancel_refused(id, target, &refusal.error, step);
            }
            _ => {}
        }
    }

    /// Whether the server still has this grant.
    fn has(&self, key: LockKey, id: GrantId, found: &Found) -> bool {
        let state = self.keys.get(&key);
        let grant = state.and_then(|state| state.grants.iter().find(|grant| grant.id == id));
        grant.is_some_and(|grant| found.holds(key, grant.mode))
    }
}

/// Even though it is the session to which the lock was granted.
pub(super) fn missing() -> Error {
    Error::new(
        ErrorKind::Connection,
        "a lock that the session held is gone: something else released it in the same server session",
    )
}
