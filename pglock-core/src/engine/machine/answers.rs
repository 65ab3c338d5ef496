//! Handles the answers of sessions.

use super::Machine;
use super::inquiry;
use super::refusals::missing;
use crate::driver::{Answer, Holding};
use crate::engine::machine::event::{ServerFacts, SessionId};
use crate::engine::machine::run::Progress;
use crate::engine::machine::sessions::{Doubt, Errand, Errands, InFlight, Session};
use crate::engine::machine::step::Step;
use crate::error::{Error, ErrorKind};

impl Machine {
    pub(super) fn opened(&mut self, id: SessionId, server: ServerFacts, step: &mut Step<'_>) {
        if let Some(known) = self.sessions.server {
            if server.identity == known.identity && server.timeline < known.timeline {
                return self.open_failed(id, &Error::superseded_server(), false, step);
            }
            if (server.identity, server.timeline) != (known.identity, known.timeline) {
                self.end_sessions_of_another_server(id, step);
            }
        }
        self.sessions.note_opened(server);
        if let Some(session) = self.sessions.get_mut(id) {
            session.open(server.pid);
        }
        // A new session holds nothing, as a query would show.
        self.sessions.note_heartbeat(id);
        self.sessions.rest(id, step.now);
        self.sessions.renew_lease(id, step);
        self.sessions.ask_at_once_in_outage(id);
        self.sessions.connect_next(step);
    }

    /// The server was promoted, or the address now leads to another server: locks of older sessions
    /// exclude no client there.
    fn end_sessions_of_another_server(&mut self, new: SessionId, step: &mut Step<'_>) {
        for id in self.sessions.ids() {
            if id != new && self.sessions.get(id).is_some_and(Session::is_open) {
                self.give_up(id, &Error::superseded_server(), step);
            }
        }
    }

    pub(super) fn answered(&mut self, id: SessionId, answer: &Answer, step: &mut Step<'_>) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let expected = match session.in_flight() {
            Some(InFlight::Errands(ops)) => ops.len(),
            Some(InFlight::Inquiries(inquiries)) => inquiry::operations(inquiries),
            Some(InFlight::ReleaseAll) => 1,
            Some(InFlight::Holdings | InFlight::Answered) | None => return,
        };
        let Some(results) = answer.results(expected) else {
            return self.ended(id, &moved(), step);
        };
        match session.take_answered() {
            Some(InFlight::Errands(errands)) => self.errands_done(id, errands, results, step),
            Some(InFlight::ReleaseAll) => self.cleaned_up(id, step),
            Some(InFlight::Inquiries(inquiries)) => {
                self.inquiries_done(id, inquiries, results, step);
            }
            Some(InFlight::Holdings | InFlight::Answered) | None => {}
        }
    }

    fn errands_done(
        &mut self,
        id: SessionId,
        errands: Errands,
        results: impl Iterator<Item = bool>,
        step: &mut Step<'_>,
    ) {
        let (lease, most) = (self.sessions.config.lease, self.sessions.config.batch);
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        if let [Errand::Lock { .. }] = errands[..] {
            session.wait_ends();
            if session.is_stale(lease, step.now) {
                session.rest_in_doubt(Doubt::Errands { errands, refusal: None });
                return self.sessions.restart_lease(id, step.now);
            }
        }
        session.widen(most);
        self.sessions.note_answer(id, step);
        let mut runs = Progress::default();
        for (errand, done) in errands.into_iter().zip(results) {
            match errand {
                // The session ends, and with it the results of the other errands.
                Errand::Downgrade { .. } if !done => return self.doubt(id, missing(), step),
                Errand::TryLock { key, run: Some(run), .. } if !runs.was_made(run, done) => {
                    self.with(key, step, |state, cx| state.ask_missed(id, cx));
                }
                errand => self.done(id, errand, done, step),
            }
        }
        self.sessions.rest(id, step.now);
    }

    /// The session no longer holds anything, and the failed wait is settled.
    fn cleaned_up(&mut self, id: SessionId, step: &mut Step<'_>) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.wait_ends();
        let doubt = session.take_doubt();
        self.sessions.note_answer(id, step);
        self.sessions.rest(id, step.now);
        if let Some(Doubt::Wait { key, refusal }) = doubt {
            self.with(key, step, |state, cx| state.waited(id, Some(&refusal), cx));
        }
    }

    pub(super) fn found(
        &mut self,
        id: SessionId,
        holdings: Option<Vec<Holding>>,
        step: &mut Step<'_>,
    ) {
        let Some(holdings) = holdings else {
            return self.ended(id, &moved(), step);
        };
        let in_flight = self.sessions.get(id).and_then(Session::in_flight);
        if matches!(in_flight, Some(InFlight::Holdings)) {
            self.sessions.note_answer(id, step);
            self.reconcile(id, holdings, step);
        }
    }

    pub(super) fn done(&mut self, id: SessionId, errand: Errand, done: bool, step: &mut Step<'_>) {
        match errand {
            Errand::TryLock { key, .. } => {
                self.with(key, step, |state, cx| state.tried(id, done, cx))
            }
            Errand::Probe { key } => self.with(key, step, |state, cx| state.probed(id, done, cx)),
            Errand::Lock { key, .. } => {
                self.with(key, step, |state, cx| state.waited(id, None, cx))
            }
            Errand::Unlock { key, grant, .. } => {
                self.with(key, step, |state, cx| state.unlocked(grant, done, cx));
            }
            Errand::Downgrade { key, grant } => {
                self.with(key, step, |state, cx| state.downgraded(grant, cx));
            }
            Errand::LetIn { key, grant } => {
                self.with(key, step, |state, cx| state.let_others_in(grant, done, cx));
            }
            Errand::Linger { key, grant } => {
                self.with(key, step, |state, cx| state.lingered(grant, cx));
            }
            Errand::Upgrade { key, grant } => {
                self.with(key, step, |state, cx| state.upgrade_answered(grant, done, cx));
            }
            Errand::Forget { .. } | Errand::Ping => {}
            Errand::Cancel { target, .. } => self.sessions.cancel_answered(target, step),
        }
    }
}

pub(super) fn moved() -> Error {
    Error::new(
        ErrorKind::UnsupportedServer,
        "a statement ran in another server session than the one that holds the locks: \
         connect to PostgreSQL directly or through a pooler in session mode",
    )
}
