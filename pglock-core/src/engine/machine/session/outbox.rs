//! The errands that a session is to send, and how many of them go into one statement.

use std::collections::VecDeque;

use super::{Errand, Session};
use crate::key::LockKey;

impl Session {
    /// Queues an errand. True if the session has to be told, as it would not ask by itself.
    pub(crate) fn push(&mut self, errand: Errand) -> bool {
        self.outbox.push_back(errand);
        self.is_idle() && self.outbox.len() == 1
    }

    /// Queues an errand before all others, unless it is queued.
    pub(crate) fn push_first(&mut self, errand: Errand) {
        if !self.outbox.contains(&errand) {
            self.outbox.push_front(errand);
        }
    }

    /// How many errands are queued.
    pub(crate) fn queued(&self) -> usize {
        self.outbox.len()
    }

    /// The errands that have not been sent.
    pub(crate) fn unsent(&self) -> impl Iterator<Item = &Errand> {
        self.outbox.iter()
    }

    /// Takes back a try that has not been sent.
    pub(crate) fn withdraw_try(&mut self, key: LockKey) {
        self.outbox.retain(
            |errand| !matches!(errand, Errand::TryLock { key: tried, .. } if *tried == key),
        );
    }

    /// Takes back all that it was to ask for. Returns the keys.
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

    /// Takes back a wait that has not been sent: the session may be busy with a question that came
    /// before it. True if there was one.
    pub(crate) fn withdraw_wait(&mut self) -> bool {
        let is_queued = self.outbox.iter().any(|errand| matches!(errand, Errand::Lock { .. }));
        if is_queued {
            self.outbox.clear();
        }
        is_queued
    }

    /// Cancels travel with each other only. Says how many errands the next statement may carry.
    pub(crate) fn group_cancels(&mut self) -> Option<usize> {
        if self.outbox.len() > 1 && self.outbox.front().is_some_and(Errand::is_cancel) {
            let (cancels, others): (VecDeque<_>, VecDeque<_>) =
                self.outbox.drain(..).partition(Errand::is_cancel);
            self.outbox = cancels;
            self.outbox.extend(others);
        }
        self.batch_limit
    }

    /// The next errand, if it goes into one statement with these.
    pub(crate) fn take_errand(&mut self, errands: &[Errand]) -> Option<Errand> {
        let with_cancels = errands.first().map(Errand::is_cancel);
        let next = self.outbox.front()?;
        if with_cancels.is_some_and(|with_cancels| with_cancels != next.is_cancel()) {
            return None;
        }
        self.outbox.pop_front()
    }

    /// A statement of so many errands was refused: the next ones carry fewer, until the one that
    /// is at fault is alone.
    pub(crate) fn narrow(&mut self, refused: usize) {
        self.batch_limit = Some((refused / 2).max(1));
    }

    /// A statement went well.
    pub(crate) fn widen(&mut self, most: usize) {
        self.batch_limit = self.batch_limit.map(|bound| bound * 2).filter(|bound| *bound < most);
    }
}
