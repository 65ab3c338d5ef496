//! How much of the server's lock table, which all its users share, this process may have.

use super::Sessions;
use crate::key::LockKey;

/// Locks of a process at the server, where no other number is given and the server's table is
/// large.
const MOST_LOCKS: usize = 1000;

/// Locks that this process has at the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Claims {
    /// Held, or waited for.
    pub(crate) held: usize,
    /// Tried, or being given back or up: the answer tells.
    pub(crate) pending: usize,
}

impl Claims {
    pub(crate) fn change(&mut self, before: Self, after: Self) {
        self.held = self.held + after.held - before.held;
        self.pending = self.pending + after.pending - before.pending;
    }
}

impl Sessions {
    /// Whether the locks that are held reach the cap: no more are to be asked for. The key that
    /// asks has none.
    pub(crate) fn is_full(&self) -> bool {
        self.claims.held >= self.cap()
    }

    /// Whether they do together with those that are tried or given back just now.
    pub(crate) fn is_at_cap(&self) -> bool {
        self.claims.held + self.claims.pending >= self.cap()
    }

    /// The next key that may be asked for, or that is to be refused, because the cap is reached by
    /// locks that are held.
    pub(crate) fn next_parked(&mut self) -> Option<LockKey> {
        self.parked.front()?;
        let waits_for_answers = self.is_at_cap() && !self.is_full();
        if waits_for_answers { None } else { self.parked.pop_front() }
    }

    /// How many locks this process may hold, so that the table that all users share does not fill
    /// up.
    fn cap(&self) -> usize {
        let table = self.server.and_then(|server| server.lock_table);
        let share = || table.map_or(MOST_LOCKS, |entries| (entries * 15 / 100).min(MOST_LOCKS));
        self.config.max_locks.unwrap_or_else(share)
    }
}
