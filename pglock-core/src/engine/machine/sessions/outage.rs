//! Outages: there is no session to ask for locks, though there was one before or one is wanted.

use std::time::Duration;

use super::{Link, Role, Session, Sessions, Timer};
use crate::engine::machine::event::{Effect, Moment, SessionId};
use crate::engine::machine::step::Step;
use crate::error::{Error, ErrorKind};

/// What is known of an outage, or of the last one.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    /// Since when there is no session to ask. The outage ends with the first good answer.
    since: Option<Moment>,
    /// Whether it is more than the time until a session that was closed on purpose is replaced.
    is_announced: bool,
    /// What went wrong last. A good answer makes it history.
    trouble: Option<Trouble>,
}

#[derive(Debug)]
enum Trouble {
    /// The last session to ask has ended.
    Lost(Error),
    /// Connecting has failed, or the new session was of no use.
    Failed(Error),
}

impl Sessions {
    /// Whether there is a session to ask for locks.
    pub(crate) fn is_connected(&self) -> bool {
        let mut shared = self.of_role(Role::Shared);
        shared.any(|(_, s)| s.link() == Link::Open)
    }

    /// How long there has been no session to ask, though there should be one.
    pub(crate) fn down_for(&self, now: Moment) -> Option<Duration> {
        self.outage.since.map(|since| now.since(since))
    }

    /// A session could not be opened, or has ended unasked. It is not in the table any more.
    pub(crate) fn note_trouble(
        &mut self,
        id: SessionId,
        session: &Session,
        error: &Error,
        step: &mut Step<'_>,
    ) {
        let was_asked = matches!(session.link(), Link::Planned | Link::Closing);
        if session.role() != Role::Shared || was_asked || self.is_connected() {
            return;
        }
        let trouble = if session.has_failed() { Trouble::Failed } else { Trouble::Lost };
        self.outage.trouble = Some(trouble(error.clone()));
        self.begin_outage(step.now);
        if !std::mem::replace(&mut self.outage.is_announced, true) {
            step.push(Effect::Down { session: id, error: error.clone() });
        }
    }

    /// The session is being closed on purpose. If it was the last one to ask, there is none until
    /// another one has replaced it.
    pub(crate) fn note_closing(&mut self, now: Moment) {
        if self.server.is_some() && !self.is_connected() {
            self.begin_outage(now);
        }
    }

    fn begin_outage(&mut self, now: Moment) {
        if self.outage.since.is_none() {
            self.outage.since = Some(now);
            self.set_report(now);
        }
    }

    /// The session has given a good answer: connecting works, which the opening alone does not
    /// show.
    pub(super) fn note_success(&mut self, id: SessionId, step: &mut Step<'_>) {
        let Some(session) = self.table.get_mut(&id) else {
            return;
        };
        if !session.note_success() {
            return;
        }
        self.failures = 0;
        if session.role() == Role::Shared {
            self.outage.trouble = None;
            let was_announced = std::mem::take(&mut self.outage.is_announced);
            if let Some(since) = self.outage.since.take()
                && was_announced
            {
                step.push(Effect::Up { session: id, down_for: step.now.since(since) });
            }
        }
    }

    /// The first question of a session that was opened in an outage comes at once, so that its
    /// answer ends the outage.
    pub(crate) fn ask_at_once_in_outage(&mut self, id: SessionId) {
        if self.outage.since.is_some()
            && let Some(session) = self.table.get_mut(&id)
        {
            session.ask_at_once();
        }
    }

    /// While nothing else happens, figures are published once per heartbeat all the same.
    fn set_report(&mut self, now: Moment) {
        self.timers.set(Timer::Report, now + self.config.lease.heartbeat);
    }

    /// The manager has been called, and publishes.
    pub(crate) fn report(&mut self, now: Moment) {
        if self.outage.since.is_some() {
            self.set_report(now);
        }
    }

    pub(crate) fn end_outage(&mut self) {
        self.outage = Outage::default();
    }

    /// Opens a session to ask, if there was one before and there is none: nobody need ask for a
    /// lock first.
    pub(crate) fn stay_connected(&mut self, step: &mut Step<'_>) {
        if self.server.is_some() && self.of_role(Role::Shared).next().is_none() {
            self.plan(Role::Shared, step);
        }
    }

    /// Whether a session to ask has answered anything that was sent since then.
    pub(crate) fn has_answered_since(&self, since: Moment) -> bool {
        self.of_role(Role::Shared).any(|(_, s)| s.has_answered_since(since))
    }

    /// What a caller is told whose time has run out without a session to ask.
    pub(crate) fn why_not_connected(&self) -> Error {
        match &self.outage.trouble {
            Some(Trouble::Failed(error)) => {
                error.clone().and_then("no connection could be made within the timeout")
            }
            Some(Trouble::Lost(error)) => error
                .clone()
                .and_then("connecting again took longer than the timeout")
                .of_kind(ErrorKind::Connection),
            None => Error::new(
                ErrorKind::Connection,
                "connecting to the server took longer than the timeout",
            ),
        }
    }
}
