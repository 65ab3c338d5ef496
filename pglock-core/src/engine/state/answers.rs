//! What sessions answer.

use std::collections::HashSet;

use super::State;
use crate::driver::{Answer, Holding};
use crate::engine::entry::Release;
use crate::engine::event::{Effects, HoldId, Moment, Server, SessionId};
use crate::engine::sessions::{Op, Ops, Phase, Session};
use crate::error::{Error, ErrorKind};
use crate::key::LockKey;
use crate::mode::Mode;

impl State {
    pub(super) fn opened(&mut self, id: SessionId, server: Server, now: Moment, fx: &mut Effects) {
        if let Some(known) = self.sessions.server {
            if server.identity == known.identity && server.timeline < known.timeline {
                return self.open_failed(id, &Error::superseded_server(), false, now, fx);
            }
            if (server.identity, server.timeline) != (known.identity, known.timeline) {
                self.end_sessions_of_another_server(id, now, fx);
            }
        }
        self.sessions.note_opened(server);
        if let Some(session) = self.sessions.get_mut(id) {
            session.pid = server.pid;
            session.asked = session.sent;
        }
        self.sessions.rest(id, now);
        self.sessions.confirm(id, now, fx);
        self.sessions.connect_next(now, fx);
    }

    /// There has been a promotion, or the address leads elsewhere now: what older sessions hold
    /// excludes nobody there.
    fn end_sessions_of_another_server(&mut self, new: SessionId, now: Moment, fx: &mut Effects) {
        for id in self.sessions.ids() {
            if id != new && self.sessions.get(id).is_some_and(Session::is_open) {
                self.give_up(id, &Error::superseded_server(), now, fx);
            }
        }
    }

    pub(super) fn answered(
        &mut self,
        id: SessionId,
        answer: &Answer,
        now: Moment,
        fx: &mut Effects,
    ) {
        self.sessions.note_answer(id);
        let lease = self.sessions.limits.lease;
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        match &mut session.phase {
            Phase::Running(ops) => {
                let Some(results) = answer.results(ops.len()) else {
                    return self.ended(id, &moved(), now, fx);
                };
                let ops = std::mem::take(ops);
                if let [Op::Lock { .. }] = ops[..] {
                    session.cancel_since = None;
                    if session.is_stale(lease, now) {
                        session.phase =
                            Phase::Reconcile { doubtful: ops, error: None, running: false };
                        return self.sessions.renew_lease(id, now);
                    }
                }
                self.sessions.confirm(id, now, fx);
                for (op, done) in ops.into_iter().zip(results) {
                    self.done(id, op, done, now, fx);
                }
                self.sessions.rest(id, now);
            }
            Phase::CleanUp { failed, error, running: true } => {
                if answer.results(1).is_none() {
                    return self.ended(id, &moved(), now, fx);
                }
                let (failed, error) = (*failed, error.clone());
                session.cancel_since = None;
                self.sessions.confirm(id, now, fx);
                self.sessions.rest(id, now);
                if let Op::Lock { key, .. } = failed {
                    self.with(key, now, fx, |entry, cx| entry.waited(id, Some(&error), cx));
                }
            }
            _ => {}
        }
    }

    pub(super) fn found(
        &mut self,
        id: SessionId,
        holdings: Option<Vec<Holding>>,
        now: Moment,
        fx: &mut Effects,
    ) {
        self.sessions.note_answer(id);
        match (holdings, self.sessions.get(id).map(|session| &session.phase)) {
            (None, _) => self.ended(id, &moved(), now, fx),
            (Some(holdings), Some(Phase::Reconcile { running: true, .. })) => {
                self.sessions.confirm(id, now, fx);
                self.reconcile(id, holdings, now, fx);
            }
            _ => {}
        }
    }

    fn done(&mut self, id: SessionId, op: Op, done: bool, now: Moment, fx: &mut Effects) {
        match op {
            Op::Try { key, .. } => self.with(key, now, fx, |entry, cx| entry.tried(id, done, cx)),
            Op::Probe { key } => self.with(key, now, fx, |entry, cx| entry.probed(id, done, cx)),
            Op::Lock { key, .. } => self.with(key, now, fx, |entry, cx| entry.waited(id, None, cx)),
            Op::Unlock { key, hold, .. } => {
                self.with(key, now, fx, |entry, cx| entry.unlocked(hold, done, cx));
            }
            Op::Downgrade { .. } if !done => self.doubt(id, missing(), now, fx),
            Op::Downgrade { key, hold } => {
                self.with(key, now, fx, |entry, cx| entry.downgraded(hold, cx));
            }
            Op::Forget { .. } | Op::Ping => {}
            Op::Cancel { target, .. } => self.sessions.cancel_answered(target, now, fx),
        }
    }

    pub(super) fn refused(&mut self, id: SessionId, error: Error, now: Moment, fx: &mut Effects) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.phase = match &mut session.phase {
            Phase::Running(ops) => match std::mem::take(ops)[..] {
                [Op::Lock { key, .. }] if cfg!(pglock_seed_bug = "skip_cleanup") => {
                    session.cancel_since = None;
                    self.sessions.rest(id, now);
                    return self.with(key, now, fx, |e, cx| e.waited(id, Some(&error), cx));
                }
                [failed @ Op::Lock { .. }] => {
                    session.phase = Phase::CleanUp { failed, error, running: false };
                    return self.sessions.renew_lease(id, now);
                }
                ref ops => {
                    let doubtful = Ops::from_slice(ops);
                    Phase::Reconcile { doubtful, error: Some(error), running: false }
                }
            },
            Phase::Looking(_) => {
                Self::fail_looks(session, &error, fx);
                Phase::Idle
            }
            // Whether it is in order still is for its lease to tell.
            Phase::Reconcile { doubtful, .. } if doubtful.is_empty() => Phase::Idle,
            // Not even the clean-up works: when in doubt, close.
            _ => return self.doubt(id, error, now, fx),
        };
    }

    /// Settles the operations of a failed statement by what the session turns out to hold.
    fn reconcile(&mut self, id: SessionId, held: Vec<Holding>, now: Moment, fx: &mut Effects) {
        let mut found: HashSet<_> = held.iter().copied().collect();
        let mut take = |key: LockKey, mode: Mode| found.remove(&Holding { key, mode });
        self.undo_downgrades(id, &held, now, fx);
        // What it held before it must hold still, but for what it was giving back.
        for (key, entry) in &self.entries {
            for hold in entry.holds.iter().filter(|hold| hold.session == id) {
                if !take(*key, hold.mode) && hold.release != Release::Sent {
                    return self.doubt(id, missing(), now, fx);
                }
            }
        }
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let phase = std::mem::replace(&mut session.phase, Phase::Running(Ops::new()));
        let Phase::Reconcile { doubtful, error, .. } = &phase else {
            return;
        };
        let is_heartbeat = doubtful.is_empty();
        let taken: Vec<_> = doubtful
            .iter()
            .map(|op| match op {
                Op::Try { key, mode } | Op::Lock { key, mode } => take(*key, *mode),
                _ => false,
            })
            .collect();
        let mut strays: Vec<_> = found.into_iter().collect();
        strays.sort_unstable_by_key(|stray| (stray.key, stray.mode));
        let is_held = |key, mode| held.contains(&Holding { key, mode });
        for (op, taken) in doubtful.iter().zip(taken) {
            match *op {
                Op::Try { key, .. } if taken => {
                    self.with(key, now, fx, |entry, cx| entry.tried(id, true, cx))
                }
                Op::Try { key, .. } | Op::Probe { key } => {
                    let error = error.as_ref();
                    self.with(key, now, fx, |entry, cx| entry.request_failed(id, error, cx));
                }
                Op::Lock { key, .. } if taken => {
                    self.with(key, now, fx, |entry, cx| entry.waited(id, None, cx));
                }
                // The server took it back while its answer was on the way: ask again.
                Op::Lock { key, .. } => {
                    self.with(key, now, fx, |entry, cx| entry.request_failed(id, None, cx));
                }
                Op::Unlock { key, hold, .. } if !self.has(key, hold, is_held) => {
                    self.done(id, *op, true, now, fx);
                }
                Op::Unlock { key, hold, .. } => {
                    self.with(key, now, fx, |entry, cx| entry.unlock_again(hold, cx));
                }
                Op::Downgrade { key, hold } => {
                    self.with(key, now, fx, |entry, cx| entry.downgraded(hold, cx));
                }
                Op::Cancel { .. } => self.sessions.push(id, *op, fx),
                Op::Forget { .. } | Op::Ping => {}
            }
        }
        for Holding { key, mode } in strays {
            // Before anything else is done with the key.
            self.sessions.push_first(id, Op::Forget { key, mode });
        }
        match self.sessions.get_mut(id) {
            Some(session) if is_heartbeat => {
                session.phase = Phase::Idle;
                session.heartbeat = Some(session.sent);
            }
            _ => self.sessions.rest(id, now),
        }
    }

    /// Of the operations that may have been done, those that turned a write lock into a read lock
    /// and were not.
    fn undo_downgrades(&mut self, id: SessionId, held: &[Holding], now: Moment, fx: &mut Effects) {
        let Some(Phase::Reconcile { doubtful, .. }) = self.sessions.get(id).map(|s| &s.phase)
        else {
            return;
        };
        let undone: Vec<_> = doubtful
            .iter()
            .filter_map(|op| match *op {
                Op::Downgrade { key, hold } => Some((key, hold)),
                _ => None,
            })
            .filter(|(key, _)| held.contains(&Holding { key: *key, mode: Mode::Write }))
            .collect();
        for (key, hold) in undone {
            self.with(key, now, fx, |entry, cx| entry.not_downgraded(hold, cx));
        }
    }

    /// Whether the server has this hold still.
    fn has(&self, key: LockKey, id: HoldId, is_held: impl Fn(LockKey, Mode) -> bool) -> bool {
        let entry = self.entries.get(&key);
        let hold = entry.and_then(|entry| entry.holds.iter().find(|hold| hold.id == id));
        hold.is_some_and(|hold| is_held(key, hold.mode))
    }
}

/// Though it is the session that it was granted to.
fn missing() -> Error {
    Error::new(
        ErrorKind::Connection,
        "a lock that the session held is gone: something else gave it back in the same server session",
    )
}

fn moved() -> Error {
    Error::new(
        ErrorKind::UnsupportedServer,
        "a statement ran in another server session than the one that holds the locks: \
         connect to PostgreSQL directly or through a pooler in session mode",
    )
}
