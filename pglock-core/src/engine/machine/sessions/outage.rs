//! Outages: there is no open shared session, although there was one before or one is needed.

use std::time::Duration;

use super::{Link, Role, Session, Sessions, Timer};
use crate::engine::machine::event::{Effect, Moment, SessionId};
use crate::engine::machine::step::Step;
use crate::error::{Error, ErrorKind};

/// The facts about the current outage, or the last one.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    /// Since when there has been no open shared session. The first good answer ends the outage.
    since: Option<Moment>,
    /// Whether it is more than the time until a session that was closed on purpose is replaced.
    is_announced: bool,
    /// The last error. A good answer clears it.
    trouble: Option<Trouble>,
}

#[derive(Debug)]
enum Trouble {
    /// The last shared session has ended.
    Lost(Error),
    /// Connecting has failed, or the new session was of no use.
    Failed(Error),
}

impl Sessions {
    /// Whether a shared session is open.
    pub(crate) fn is_connected(&self) -> bool {
        let mut shared = self.of_role(Role::Shared);
        shared.any(|(_, s)| s.link() == Link::Open)
    }

    /// How long there has been no open shared session, although there should be one.
    pub(crate) fn down_for(&self, now: Moment) -> Option<Duration> {
        self.outage.since.map(|since| now.since(since))
    }

    /// A session could not be opened, or has ended unexpectedly. The table no longer contains it.
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

    /// The session is being closed on purpose. If it was the last shared one, there is none until
    /// another one has replaced it.
    pub(crate) fn note_closing(&mut self, now: Moment) {
        if self.server.is_some() && !self.is_connected() && !self.may_disconnect() {
            self.begin_outage(now);
        }
    }

    fn begin_outage(&mut self, now: Moment) {
        if self.outage.since.is_none() {
            self.outage.since = Some(now);
            self.set_report(now);
        }
    }

    /// The session has given a good answer, which proves that connecting works. Opening alone does
    /// not.
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

    /// A session that was opened in an outage sends its first question at once, so that the answer
    /// ends the outage.
    pub(crate) fn ask_at_once_in_outage(&mut self, id: SessionId) {
        if self.outage.since.is_some()
            && let Some(session) = self.table.get_mut(&id)
        {
            session.ask_at_once();
        }
    }

    /// Even if nothing else happens, the manager publishes its figures once per heartbeat.
    fn set_report(&mut self, now: Moment) {
        self.timers.set(Timer::Report, now + self.config.lease.heartbeat);
    }

    /// The manager was woken, and publishes its figures.
    pub(crate) fn report(&mut self, now: Moment) {
        if self.outage.since.is_some() {
            self.set_report(now);
        }
    }

    pub(crate) fn end_outage(&mut self) {
        self.outage = Outage::default();
    }

    /// Whether the manager needs no session until the next caller comes.
    pub(crate) fn may_disconnect(&self) -> bool {
        let is_unused = |session: &Session| session.is_closing() && session.grants() == 0;
        self.config.disconnect_when_idle && self.queued == 0 && self.table.values().all(is_unused)
    }

    /// Opens a shared session if there was one before and there is none now, even if no caller
    /// needs a lock.
    pub(crate) fn stay_connected(&mut self, step: &mut Step<'_>) {
        if self.server.is_some() && self.of_role(Role::Shared).next().is_none() {
            self.plan(Role::Shared, step);
        }
    }

    /// Whether a shared session has answered a request sent since then.
    pub(crate) fn has_answered_since(&self, since: Moment) -> bool {
        self.of_role(Role::Shared).any(|(_, s)| s.has_answered_since(since))
    }

    /// The error for a caller whose time runs out while no session is open.
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
