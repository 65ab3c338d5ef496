//! Cancels that are aimed at the wait of a session.

use super::Session;
use crate::engine::machine::event::Moment;

impl Session {
    /// A cancel is on the way to its wait. True if it is the first one.
    pub(crate) fn cancel_begins(&mut self, now: Moment) -> bool {
        self.cancels += 1;
        let is_first = self.cancel_since.is_none();
        self.cancel_since.get_or_insert(now);
        is_first
    }

    /// A cancel has come, or never will.
    pub(crate) fn cancel_ends(&mut self) {
        self.cancels -= 1;
    }

    /// Its wait has ended, and is not being cancelled any more.
    pub(crate) fn wait_ends(&mut self) {
        self.cancel_since = None;
    }

    /// Whether its wait is to be given up, be it over or not.
    pub(crate) fn is_given_up(&self) -> bool {
        self.cancel_since.is_some()
    }

    /// Whether its wait goes on though it is to be given up.
    pub(crate) fn is_being_cancelled(&self) -> bool {
        self.cancel_since.is_some() && self.is_running()
    }

    /// Whether a cancel is on the way to it: until then no statement of its own may be hit.
    pub(crate) fn is_aimed_at(&self) -> bool {
        self.cancels > 0
    }

    /// It must not be used again: a cancel may come late, or it has a lock that is nobody's.
    pub(crate) fn doom(&mut self) {
        self.doomed = true;
    }

    pub(crate) fn is_doomed(&self) -> bool {
        self.doomed
    }
}
