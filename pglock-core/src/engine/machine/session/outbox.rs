//! The errands that a session is to send, and how many of them go into one statement.

use std::collections::VecDeque;

use super::{Errand, Session};

impl Session {
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

    /// The next operation, if it goes into one statement with these.
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
