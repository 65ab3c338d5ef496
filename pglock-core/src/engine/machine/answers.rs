//! What sessions answer.

use super::Machine;
use super::refusals::missing;
use crate::driver::{Answer, Holding};
use crate::engine::machine::event::{ServerFacts, SessionId};
use crate::engine::machine::sessions::{Op, Phase, Session};
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
            session.pid = server.pid;
            session.asked = session.sent;
        }
        // A new session holds nothing, as it would tell when asked.
        self.sessions.note_heartbeat(id);
        self.sessions.rest(id, step.now);
        self.sessions.renew_lease(id, step);
        self.sessions.ask_at_once_in_outage(id);
        self.sessions.connect_next(step);
    }

    /// There has been a promotion, or the address leads elsewhere now: what older sessions hold
    /// excludes nobody there.
    fn end_sessions_of_another_server(&mut self, new: SessionId, step: &mut Step<'_>) {
        for id in self.sessions.ids() {
            if id != new && self.sessions.get(id).is_some_and(Session::is_open) {
                self.give_up(id, &Error::superseded_server(), step);
            }
        }
    }

    pub(super) fn answered(&mut self, id: SessionId, answer: &Answer, step: &mut Step<'_>) {
        let (lease, most) = (self.sessions.config.lease, self.sessions.config.batch);
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        match &mut session.phase {
            Phase::Running(ops) => {
                let Some(results) = answer.results(ops.len()) else {
                    return self.ended(id, &moved(), step);
                };
                let ops = std::mem::take(ops);
                if let [Op::Lock { .. }] = ops[..] {
                    session.cancel_since = None;
                    if session.is_stale(lease, step.now) {
                        session.phase =
                            Phase::Reconcile { doubtful: ops, refusal: None, running: false };
                        return self.sessions.restart_lease(id, step.now);
                    }
                }
                session.widen(most);
                self.sessions.note_answer(id, step);
                for (op, done) in ops.into_iter().zip(results) {
                    self.done(id, op, done, step);
                }
                self.sessions.rest(id, step.now);
            }
            Phase::CleanUp { failed, refusal, running: true } => {
                if answer.results(1).is_none() {
                    return self.ended(id, &moved(), step);
                }
                let (failed, refusal) = (*failed, refusal.clone());
                session.cancel_since = None;
                self.sessions.note_answer(id, step);
                self.sessions.rest(id, step.now);
                if let Op::Lock { key, .. } = failed {
                    self.with(key, step, |state, cx| state.waited(id, Some(&refusal), cx));
                }
            }
            Phase::Inquiring(checks) => {
                if answer.results(1).is_none() {
                    return self.ended(id, &moved(), step);
                }
                let checks = std::mem::take(checks);
                self.checked(id, checks, step);
            }
            _ => {}
        }
    }

    pub(super) fn found(
        &mut self,
        id: SessionId,
        holdings: Option<Vec<Holding>>,
        step: &mut Step<'_>,
    ) {
        match (holdings, self.sessions.get(id).map(|session| &session.phase)) {
            (None, _) => self.ended(id, &moved(), step),
            (Some(holdings), Some(Phase::Reconcile { running: true, .. })) => {
                self.sessions.note_answer(id, step);
                self.reconcile(id, holdings, step);
            }
            _ => {}
        }
    }

    pub(super) fn done(&mut self, id: SessionId, op: Op, done: bool, step: &mut Step<'_>) {
        match op {
            Op::Try { key, .. } => self.with(key, step, |state, cx| state.tried(id, done, cx)),
            Op::Probe { key } => self.with(key, step, |state, cx| state.probed(id, done, cx)),
            Op::Lock { key, .. } => self.with(key, step, |state, cx| state.waited(id, None, cx)),
            Op::Unlock { key, grant, .. } => {
                self.with(key, step, |state, cx| state.unlocked(grant, done, cx));
            }
            Op::Downgrade { .. } if !done => self.doubt(id, missing(), step),
            Op::Downgrade { key, grant } => {
                self.with(key, step, |state, cx| state.downgraded(grant, cx));
            }
            Op::Forget { .. } | Op::Ping => {}
            Op::Cancel { target, .. } => self.sessions.cancel_answered(target, step),
        }
    }
}

fn moved() -> Error {
    Error::new(
        ErrorKind::UnsupportedServer,
        "a statement ran in another server session than the one that holds the locks: \
         connect to PostgreSQL directly or through a pooler in session mode",
    )
}
