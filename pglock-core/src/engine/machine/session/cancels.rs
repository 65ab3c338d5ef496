//! Cancels aimed at the wait of a session.

use super::Session;
use crate::engine::machine::event::Moment;

impl Session {
    /// A cancel is on its way to the wait. Returns true if it is the first one.
    pub(crate) fn cancel_begins(&mut self, now: Moment) -> bool {
        self.cancels += 1;
        let is_first = self.cancel_since.is_none();
        self.cancel_since.get_or_insert(now);
        is_first
    }

    /// A cancel has arrived, or never will.
    pub(crate) fn cancel_ends(&mut self) {
        self.cancels -= 1;
    }

    /// The wait has ended, and is no longer being cancelled.
    pub(crate) fn wait_ends(&mut self) {
        self.cancel_since = None;
    }

    /// Whether the wait is to be given up, even if it is already over.
    pub(crate) fn is_given_up(&self) -> bool {
        self.cancel_since.is_some()
    }

    /// Whether the wait is to be given up, but continues.
    pub(crate) fn is_being_cancelled(&self) -> bool {
        self.cancel_since.is_some() && self.is_running()
    }

    /// Whether a cancel is on its way. Until it arrives, the session must run no statement that it
    /// could hit.
    pub(crate) fn is_aimed_at(&self) -> bool {
        self.cancels > 0
    }

    /// The session must not be used again: a cancel may arrive late, or it has a lock that it
    /// cannot release.
    pub(crate) fn doom(&mut self) {
        self.doomed = true;
    }

    pub(crate) fn is_doomed(&self) -> bool {
        self.doomed
    }
}
