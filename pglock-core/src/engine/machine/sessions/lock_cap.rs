//! Limits how much of the server's lock table, which all its users share, this process takes.

use super::Sessions;
use crate::key::LockKey;

/// The cap on the locks of a process if none is configured and the server's table is large.
const MOST_LOCKS: usize = 1000;

/// The locks that this process has at the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Claims {
    /// Held or awaited.
    pub(crate) held: usize,
    /// Being tried, released or given up: the answer will show.
    pub(crate) pending: usize,
}

impl Claims {
    pub(crate) fn change(&mut self, before: Self, after: Self) {
        self.held = self.held + after.held - before.held;
        self.pending = self.pending + after.pending - before.pending;
    }
}

impl Sessions {
    /// Whether held locks reach the cap, so that the manager requests no more. The key that asks
    /// has none.
    pub(crate) fn is_full(&self) -> bool {
        self.claims.held >= self.cap()
    }

    /// Whether held and pending locks together reach the cap.
    pub(crate) fn is_at_cap(&self) -> bool {
        self.claims.held + self.claims.pending >= self.cap()
    }

    /// How many more locks may be held.
    pub(crate) fn room(&self) -> usize {
        self.cap().saturating_sub(self.claims.held)
    }

    /// Whether the cap is not known before a session is open.
    pub(crate) fn awaits_cap(&self) -> bool {
        self.config.max_locks.is_none() && self.server.is_none()
    }

    /// The next key that may request its lock, or must be refused because held locks reach the cap.
    pub(crate) fn next_parked(&mut self) -> Option<LockKey> {
        self.parked.front()?;
        let waits_for_answers = self.is_at_cap() && !self.is_full();
        if waits_for_answers { None } else { self.parked.pop_front() }
    }

    /// How many locks this process may hold, so that it does not fill the table that all users
    /// share.
    fn cap(&self) -> usize {
        let table = self.server.and_then(|server| server.lock_table);
        self.config.max_locks.unwrap_or_else(|| lock_share(table))
    }
}

/// What a process may have of a lock table with this many entries.
pub(crate) fn lock_share(table: Option<usize>) -> usize {
    table.map_or(MOST_LOCKS, |entries| (entries * 15 / 100).min(MOST_LOCKS))
}
