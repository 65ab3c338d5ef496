//! Inquiries: who holds and awaits which locks at the server, and whether the server answers.

use std::mem;

use super::Machine;
use crate::driver::Operation;
use crate::engine::machine::event::{CallerId, Effect, Moment, Outcome, Proof, SessionId};
use crate::engine::machine::sessions::InFlight;
use crate::engine::machine::step::Step;
use crate::error::Error;
use crate::key::LockKey;
use crate::looking::LockEntry;

/// How many operations answer these: one each for proofs, one for all checks.
pub(super) fn operations(inquiries: &[Inquiry]) -> usize {
    inquiries.iter().filter(|inquiry| inquiry.is_proof()).count().max(1)
}

/// What a session is to find out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Inquiry {
    /// For a caller: who holds and awaits this key, or any key.
    Locks { caller: CallerId, key: Option<LockKey> },
    /// For a caller: whether the session answers.
    Check { caller: CallerId },
    /// For a guard: a proof of the session itself.
    Proof { caller: CallerId, proof: Proof },
    /// A proof whose caller has gone. It keeps its place among those that are with the server.
    Gone,
    /// For the machine: whether the server knows of the wait of a session that has waited for long.
    Wait { session: SessionId, key: LockKey },
}

impl Inquiry {
    pub(crate) fn caller(self) -> Option<CallerId> {
        match self {
            Self::Locks { caller, .. } | Self::Check { caller } | Self::Proof { caller, .. } => {
                Some(caller)
            }
            Self::Gone | Self::Wait { .. } => None,
        }
    }

    /// Whether one statement can answer both.
    pub(crate) fn goes_with(&self, other: &Self) -> bool {
        let is_about_locks = |one: &Self| matches!(one, Self::Locks { .. } | Self::Wait { .. });
        match (self, other) {
            (Self::Proof { proof: one, .. }, Self::Proof { proof: other, .. }) => {
                mem::discriminant(one) == mem::discriminant(other)
            }
            (Self::Check { .. }, Self::Check { .. }) => true,
            _ => is_about_locks(self) && is_about_locks(other),
        }
    }

    pub(crate) fn is_proof(&self) -> bool {
        matches!(self, Self::Proof { .. } | Self::Gone)
    }

    /// Whether the server may have taken a lock for it, and not released it, if it refuses the
    /// statement.
    pub(crate) fn may_leave_a_lock(&self) -> bool {
        matches!(self, Self::Gone | Self::Proof { proof: Proof::Sees(_), .. })
    }

    /// The operation that answers it, if one does.
    pub(crate) fn to_operation(self) -> Option<Operation> {
        match self {
            Self::Proof { proof: Proof::Sees(key), .. } => Some(Operation::Probe(key)),
            _ => None,
        }
    }

    /// The key it is about, if it is about one.
    pub(crate) fn key(&self) -> Option<LockKey> {
        match *self {
            Self::Locks { key, .. } => key,
            Self::Check { .. } | Self::Proof { .. } | Self::Gone => None,
            Self::Wait { key, .. } => Some(key),
        }
    }
}

impl Machine {
    /// Resolves the caller with the holders and waiters of this key, or of any key.
    pub(super) fn inspect(&mut self, caller: CallerId, key: Option<LockKey>, step: &mut Step<'_>) {
        self.inquire_for(caller, Inquiry::Locks { caller, key }, step);
    }

    /// Resolves the caller after one round trip, even if other questions are pending.
    pub(super) fn check(&mut self, caller: CallerId, step: &mut Step<'_>) {
        self.inquire_for(caller, Inquiry::Check { caller }, step);
    }

    fn inquire_for(&mut self, caller: CallerId, inquiry: Inquiry, step: &mut Step<'_>) {
        match &self.closed {
            Some(why) => step.resolve(caller, Outcome::Failed(why.clone())),
            None => self.inquire(inquiry, step),
        }
    }

    fn inquire(&mut self, inquiry: Inquiry, step: &mut Step<'_>) {
        let id = self.sessions.shared(step);
        self.inquire_of(id, inquiry, step);
    }

    pub(super) fn inquire_of(&mut self, id: SessionId, inquiry: Inquiry, step: &mut Step<'_>) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.inquire(inquiry);
            if session.is_idle() {
                step.push(Effect::Kick(id));
            }
        }
    }

    pub(super) fn abandon_inquiry(&mut self, caller: CallerId) {
        for id in self.sessions.ids() {
            if let Some(session) = self.sessions.get_mut(id) {
                session.forget_inquirer(caller);
            }
        }
    }

    /// A session has waited so long that its connection may have died silently, although others
    /// live. Another session asks whether the server knows of the wait.
    pub(super) fn check_wait(&mut self, id: SessionId, step: &mut Step<'_>) {
        let Some(key) = self.sessions.wait_to_check(id, step.now) else {
            return;
        };
        let inquiry = Inquiry::Wait { session: id, key };
        let is_asked = self.sessions.iter().any(|(_, s)| s.is_to_inquire(&inquiry));
        if !is_asked && self.closed.is_none() {
            self.inquire(inquiry, step);
        }
    }

    /// The session has answered inquiries by operations: one for each proof, and one for all checks.
    pub(super) fn inquiries_done(
        &mut self,
        id: SessionId,
        inquiries: Vec<Inquiry>,
        results: impl Iterator<Item = bool>,
        step: &mut Step<'_>,
    ) {
        let mut results = results;
        for inquiry in inquiries {
            match inquiry {
                Inquiry::Check { caller } => step.resolve(caller, Outcome::Checked),
                Inquiry::Proof { caller, .. } => {
                    // What is free for this session is not another one's.
                    step.resolve(caller, Outcome::Seen(results.next() == Some(false)));
                }
                Inquiry::Gone => drop(results.next()),
                // They are answered by lists of locks.
                Inquiry::Locks { .. } | Inquiry::Wait { .. } => {}
            }
        }
        self.sessions.note_answer(id, step);
        self.sessions.rest(id, step.now);
    }

    /// The session has listed the server's locks.
    pub(super) fn inspected(&mut self, id: SessionId, locks: &[LockEntry], step: &mut Step<'_>) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let asked_at = session.last_sent();
        let Some(InFlight::Inquiries(inquiries)) = session.take_answered() else {
            return;
        };
        let mut lost = Vec::new();
        for inquiry in inquiries {
            match inquiry {
                Inquiry::Locks { caller, key } => {
                    let locks = locks.iter().filter(|lock| key.is_none_or(|key| lock.key == key));
                    let locks = locks.map(|lock| self.with_owner(lock)).collect();
                    step.resolve(caller, Outcome::Inspected(locks));
                }
                Inquiry::Wait { session, key } => {
                    if self.waits_in_vain(session, key, locks, asked_at) {
                        lost.push(session);
                    }
                }
                // The others go out apart.
                Inquiry::Check { .. } | Inquiry::Proof { .. } | Inquiry::Gone => {}
            }
        }
        self.sessions.note_answer(id, step);
        self.sessions.rest(id, step.now);
        for id in lost {
            self.give_up(id, &Error::silent(), step);
        }
    }

    /// A lock for callers, marked if this process holds it.
    fn with_owner(&self, lock: &LockEntry) -> LockEntry {
        let is_ours = self.sessions.iter().any(|(_, s)| s.is_open() && s.pid() == lock.pid);
        LockEntry { is_ours, ..lock.clone() }
    }

    /// Whether the server, asked at that time, did not know of the session's wait for the key.
    fn waits_in_vain(
        &self,
        id: SessionId,
        key: LockKey,
        locks: &[LockEntry],
        asked_at: Moment,
    ) -> bool {
        self.sessions.get(id).is_some_and(|session| {
            // The same wait, not a later one, and the server had enough time to learn of it.
            session.awaited() == Some(key)
                && session.has_waited_for(self.sessions.config.lease.guard, asked_at)
                && !locks.iter().any(|lock| lock.key == key && lock.pid == session.pid())
        })
    }

    /// The session cannot answer these inquiries.
    pub(super) fn fail_inquiries(inquiries: Vec<Inquiry>, error: &Error, step: &mut Step<'_>) {
        // The machine will ask about a waiting session again later.
        for caller in inquiries.into_iter().filter_map(Inquiry::caller) {
            step.resolve(caller, Outcome::Failed(error.clone()));
        }
    }
}
