//! The errands that a session is to send, and how many of them fit into one statement.

use std::collections::VecDeque;

use super::{Errand, Session};
use crate::engine::machine::run::Run;
use crate::key::LockKey;

impl Session {
    /// Queues an errand. Returns true if the session needs a kick, because it would not ask for a
    /// job.
    pub(crate) fn push(&mut self, errand: Errand) -> bool {
        self.outbox.push_back(errand);
        self.is_idle() && self.outbox.len() == 1
    }

    /// Queues an errand before all others, unless it is queued already.
    pub(crate) fn push_first(&mut self, errand: Errand) {
        if !self.outbox.contains(&errand) {
            self.outbox.push_front(errand);
        }
    }

    /// The number of queued errands.
    pub(crate) fn queued(&self) -> usize {
        self.outbox.len()
    }

    /// The errands that have not been sent yet.
    pub(crate) fn unsent(&self) -> impl Iterator<Item = &Errand> {
        self.outbox.iter()
    }

    /// Withdraws a try that has not been sent.
    pub(crate) fn withdraw_try(&mut self, key: LockKey) {
        self.outbox.retain(
            |errand| !matches!(errand, Errand::TryLock { key: tried, .. } if *tried == key),
        );
    }

    /// Takes back the next errand if it is a try of this run. Returns its key.
    pub(crate) fn take_try_of(&mut self, run: Run) -> Option<LockKey> {
        match self.outbox.front() {
            Some(&Errand::TryLock { key, run: Some(next), .. }) if next == run => {
                self.outbox.pop_front();
                Some(key)
            }
            _ => None,
        }
    }

    /// Withdraws everything that it was to ask for. Returns the keys.
    pub(crate) fn withdraw_asks(&mut self) -> Vec<LockKey> {
        let mut keys = Vec::new();
        self.outbox.retain(|errand| match errand {
            Errand::TryLock { key, .. } | Errand::Probe { key } => {
                keys.push(*key);
                false
            }
            _ => true,
        });
        keys
    }

    /// Withdraws a wait that has not been sent, because the session is busy with an earlier
    /// question. Returns true if there was one.
    pub(crate) fn withdraw_wait(&mut self) -> bool {
        let is_queued = self.outbox.iter().any(|errand| matches!(errand, Errand::Lock { .. }));
        if is_queued {
            self.outbox.clear();
        }
        is_queued
    }

    /// Cancels travel only with each other. Returns how many errands the next statement may carry.
    pub(crate) fn group_cancels(&mut self) -> Option<usize> {
        if self.outbox.len() > 1 && self.outbox.front().is_some_and(Errand::is_cancel) {
            let (cancels, others): (VecDeque<_>, VecDeque<_>) =
                self.outbox.drain(..).partition(Errand::is_cancel);
            self.outbox = cancels;
            self.outbox.extend(others);
        }
        self.batch_limit
    }

    /// The next errand, if it can join these in one statement.
    pub(crate) fn take_errand(&mut self, errands: &[Errand]) -> Option<Errand> {
        let next = self.outbox.front()?;
        match errands.first() {
            Some(first) if !next.travels_with(first) => None,
            _ => self.outbox.pop_front(),
        }
    }

    /// A statement with this many errands was refused. The next ones carry fewer, until the culprit
    /// is alone.
    pub(crate) fn narrow(&mut self, refused: usize) {
        self.batch_limit = Some((refused / 2).max(1));
    }

    /// A statement succeeded.
    pub(crate) fn widen(&mut self, most: usize) {
        self.batch_limit = self.batch_limit.map(|bound| bound * 2).filter(|bound| *bound < most);
    }
}
