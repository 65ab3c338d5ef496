//! Handles sessions that have ended or could not be opened.

use super::Machine;
use crate::engine::machine::event::{Effect, SessionId};
use crate::engine::machine::sessions::{Errand, Link, Role, Session};
use crate::engine::machine::step::Step;
use crate::error::{Error, ErrorKind};

impl Machine {
    pub(super) fn open_failed(
        &mut self,
        id: SessionId,
        error: &Error,
        permanent: bool,
        step: &mut Step<'_>,
    ) {
        let Some(mut session) = self.sessions.remove(id) else {
            return;
        };
        Self::fail_inquiries(session.take_inquiries(), error, step);
        let down_for = self.sessions.down_for(step.now);
        self.note_trouble(id, &session, error, step);
        self.sessions.connect_next(step);
        // The keys that wanted this waiting session keep trying without it.
        if session.role() == Role::Shared {
            let sessions = &self.sessions;
            let give_up = permanent
                || sessions.server.is_none()
                || down_for.is_some_and(|down_for| down_for >= sessions.config.reconnect_timeout);
            self.fail_unserved(id, error, give_up, step);
            self.reissue_cancels(&session, step);
        }
        self.go_on(&session, error, step);
    }

    pub(super) fn ended(&mut self, id: SessionId, error: &Error, step: &mut Step<'_>) {
        let is_hopeless = error.kind() == ErrorKind::UnsupportedServer;
        self.end(id, error, is_hopeless, step);
    }

    /// With `is_hopeless`, waiting callers get the error instead of another session.
    fn end(&mut self, id: SessionId, error: &Error, is_hopeless: bool, step: &mut Step<'_>) {
        let Some(mut session) = self.sessions.remove(id) else {
            return;
        };
        let held = self.guarded_by(id);
        step.push(Effect::Lost { session: id, held, error: error.clone() });
        session.fail_acknowledgements(step);
        Self::fail_inquiries(session.take_inquiries(), error, step);
        if session.link() == Link::Open {
            self.sessions.counts.missing += 1;
            self.sessions.counts.losses += held as u64;
        }
        self.note_trouble(id, &session, error, step);
        self.sessions.connect_next(step);
        if is_hopeless {
            self.fail_unserved(id, error, true, step);
        } else {
            for key in self.sorted_keys() {
                self.with(key, step, |state, cx| {
                    if state.session_ended(id, &mut cx.step, key) {
                        state.settle(cx);
                    }
                });
            }
        }
        self.reissue_cancels(&session, step);
        self.go_on(&session, error, step);
    }

    fn note_trouble(
        &mut self,
        id: SessionId,
        session: &Session,
        error: &Error,
        step: &mut Step<'_>,
    ) {
        if session.has_failed() {
            self.sessions.note_failure(step.now);
        }
        if self.closed.is_none() && !is_stop(error) {
            self.sessions.note_trouble(id, session, error, step);
        }
    }

    /// A session has ended.
    fn go_on(&mut self, gone: &Session, error: &Error, step: &mut Step<'_>) {
        let was_idle = gone.is_closing() && self.sessions.may_disconnect();
        if self.closed.is_some() {
            self.sessions.kick_all(step);
        } else if !is_stop(error) && !was_idle {
            self.sessions.stay_connected(step);
        }
    }

    /// The locks of the session that guards still have. Others are being released.
    pub(super) fn guarded_by(&self, id: SessionId) -> usize {
        let grants = self.keys.values().flat_map(|state| &state.grants);
        grants.filter(|grant| grant.session == id && grant.guards > 0).count()
    }

    /// The session has been silent for a whole lease.
    pub(super) fn lease_over(&mut self, id: SessionId, step: &mut Step<'_>) {
        let why = self.why_silent();
        self.give_up(id, &why, step);
        // Whatever silenced it may have silenced the waiting sessions, too. They hold nothing, and
        // their callers ask again.
        for id in self.sessions.long_silent(step.now) {
            self.give_up(id, &why, step);
        }
    }

    /// The cause of a session's silence: the server, or this process, which acted too late on a
    /// timer that was due before the end of the lease.
    fn why_silent(&self) -> Error {
        if self.stall >= self.sessions.config.lease.heartbeat {
            Error::stalled(self.stall)
        } else if self.clock_is_ahead {
            Error::clock_paused()
        } else {
            Error::silent()
        }
    }

    /// Ends the session at once, whatever it is doing. Another one serves its waiting callers.
    pub(super) fn give_up(&mut self, id: SessionId, why: &Error, step: &mut Step<'_>) {
        step.push(Effect::Abort(id));
        self.end(id, why, false, step);
    }

    /// Ends an idle session, because it is no longer known what it holds.
    pub(super) fn doubt(&mut self, id: SessionId, why: Error, step: &mut Step<'_>) {
        let error = Error::with_source(
            ErrorKind::Connection,
            "the session was closed because its state was in doubt",
            why,
        );
        self.ended(id, &error, step);
    }

    /// Reports the error to callers that depend on this session; with `all`, also to those that
    /// would wait.
    fn fail_unserved(&mut self, id: SessionId, error: &Error, all: bool, step: &mut Step<'_>) {
        for key in self.sorted_keys() {
            self.with(key, step, |state, cx| {
                if !state.session_ended(id, &mut cx.step, key) {
                    return;
                }
                state.queue.take_tries(|waiter| cx.step.fail(waiter.id, key, error));
                while all && let Some(waiter) = state.queue.pop_front() {
                    cx.step.fail(waiter.id, key, error);
                }
                state.settle(cx);
            });
        }
    }

    /// Handles the cancels that a vanished session was to send. They may still arrive, so their
    /// targets must not be used again.
    fn reissue_cancels(&mut self, gone: &Session, step: &mut Step<'_>) {
        for (errand, was_sent) in gone
            .unsettled()
            .iter()
            .map(|errand| (errand, true))
            .chain(gone.unsent().map(|errand| (errand, false)))
        {
            if let Errand::Cancel { target, .. } = *errand {
                self.sessions.cancel_vanished(target, was_sent, step);
            }
        }
    }
}

/// Whether the runtime of the session has ended. That is no outage, and no task could reconnect.
fn is_stop(error: &Error) -> bool {
    error.kind() == ErrorKind::NoRuntime
}
