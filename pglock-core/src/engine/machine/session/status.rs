//! What a session is doing, and what it can be used for.

use std::time::Duration;

use super::{Doubt, Errand, InFlight, Link, Role, Session};
use crate::engine::machine::event::Moment;

impl Session {
    pub(crate) fn link(&self) -> Link {
        self.link
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// The number of locks that the server has granted to it.
    pub(crate) fn grants(&self) -> usize {
        self.grants
    }

    /// When the last request was sent to it.
    pub(crate) fn last_sent(&self) -> Moment {
        self.last_sent
    }

    pub(crate) fn idle_since(&self) -> Moment {
        self.idle_since
    }

    /// Whether it asks for its next job only after a kick.
    pub(crate) fn is_idle(&self) -> bool {
        self.link == Link::Open && self.in_flight.is_none() && self.doubt.is_none()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.link == Link::Closing
    }

    pub(crate) fn in_flight(&self) -> Option<&InFlight> {
        self.in_flight.as_ref()
    }

    /// Whether errands are with the server, or are just being handled.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.in_flight, Some(InFlight::Errands(_) | InFlight::Answered))
    }

    pub(crate) fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// The errands that are with the server.
    pub(crate) fn errands(&self) -> &[Errand] {
        match &self.in_flight {
            Some(InFlight::Errands(errands)) => errands,
            _ => &[],
        }
    }

    /// The errands that have been sent and may have taken effect.
    pub(crate) fn unsettled(&self) -> &[Errand] {
        match &self.doubt {
            Some(Doubt::Errands { errands, .. }) => errands,
            _ => self.errands(),
        }
    }

    /// Whether it ended before it was of any use.
    pub(crate) fn has_failed(&self) -> bool {
        !self.has_answered && matches!(self.link, Link::Opening | Link::Open)
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.link, Link::Open | Link::Closing)
    }

    pub(crate) fn is_usable(&self) -> bool {
        !self.doomed && !self.is_closing()
    }

    pub(crate) fn load(&self) -> usize {
        self.grants + self.outbox.len()
    }

    pub(crate) fn is_free_to_wait(&self) -> bool {
        self.role == Role::Waiting && self.is_idle() && self.is_spare()
    }

    /// Whether it is free to wait, now or after it has answered a question.
    pub(crate) fn is_about_to_be_free(&self) -> bool {
        self.role == Role::Waiting && self.is_at_hand() && self.is_spare()
    }

    /// Whether it can take its next errand now or after it has answered a question.
    pub(crate) fn is_at_hand(&self) -> bool {
        let answers_first = match self.in_flight {
            None | Some(InFlight::Holdings | InFlight::Inquiries(_) | InFlight::Answered) => true,
            Some(InFlight::Errands(_) | InFlight::ReleaseAll) => false,
        };
        self.link == Link::Open && self.doubt.is_none() && answers_first && !self.doomed
    }

    pub(crate) fn has_held_for(&self, time: Duration, now: Moment) -> bool {
        self.grants > 0 && now >= self.idle_since + time
    }

    /// Whether it holds nothing and has nothing to do.
    pub(crate) fn is_spare(&self) -> bool {
        self.grants == 0
            && self.outbox.is_empty()
            && self.inquiries.is_empty()
            && self.acknowledgements.is_empty()
            && self.cancels == 0
            && !self.doomed
    }
}
