//! What sessions answer.

use super::State;
use crate::driver::{Answer, Holding, Outcome};
use crate::engine::entry::Release;
use crate::engine::event::{Effects, Moment, SessionId};
use crate::engine::sessions::{Op, Phase};
use crate::error::{Error, ErrorKind};
use crate::key::LockKey;
use crate::mode::Mode;

impl State {
    pub(super) fn opened(&mut self, id: SessionId, pid: i32, now: Moment, fx: &mut Effects) {
        self.sessions.note_opened();
        if let Some(session) = self.sessions.get_mut(id) {
            session.pid = pid;
        }
        self.sessions.rest(id, now);
        self.sessions.connect_next(now, fx);
    }

    pub(super) fn answered(
        &mut self,
        id: SessionId,
        rows: &[Answer],
        now: Moment,
        fx: &mut Effects,
    ) {
        self.sessions.note_answer(id);
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        match &mut session.phase {
            Phase::Running(ops) => {
                let Some(results) = Outcome::from_answer(rows, ops.len()) else {
                    return self.ended(id, &moved(), now, fx);
                };
                let ops = std::mem::take(ops);
                if let [Op::Lock { .. }] = ops[..] {
                    session.cancel_since = None;
                }
                for (op, done) in ops.into_iter().zip(results) {
                    self.done(id, op, done, now, fx);
                }
                self.sessions.rest(id, now);
            }
            Phase::CleanUp { failed, error, running: true } => {
                if Outcome::from_answer(rows, 1).is_none() {
                    return self.drop_session(id, now, fx);
                }
                let (failed, error) = (*failed, error.clone());
                session.cancel_since = None;
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
                self.reconcile(id, &holdings, now, fx);
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
            Op::Forget { .. } => {}
            Op::Cancel { target, .. } => self.sessions.cancel_answered(target, now, fx),
        }
    }

    pub(super) fn refused(&mut self, id: SessionId, error: Error, now: Moment, fx: &mut Effects) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.phase = match &mut session.phase {
            Phase::Running(ops) => match std::mem::take(ops)[..] {
                [failed @ Op::Lock { .. }] => Phase::CleanUp { failed, error, running: false },
                ref failed => Phase::Reconcile { failed: failed.to_vec(), error, running: false },
            },
            // Not even the clean-up works: when in doubt, close.
            _ => return self.drop_session(id, now, fx),
        };
    }

    /// Settles the operations of a failed statement by what the session turns out to hold.
    fn reconcile(&mut self, id: SessionId, held: &[Holding], now: Moment, fx: &mut Effects) {
        let mut found = held.to_vec();
        let mut take = |key: LockKey, mode: Mode| {
            let at = found.iter().position(|h| h.key == key && h.mode == mode);
            at.map(|at| found.swap_remove(at)).is_some()
        };
        // What it held before it must hold still, but for what it was giving back.
        for (key, entry) in &self.entries {
            for hold in entry.holds.iter().filter(|hold| hold.session == id) {
                if !take(*key, hold.mode) && hold.release != Release::Sent {
                    return self.drop_session(id, now, fx);
                }
            }
        }
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let phase = std::mem::replace(&mut session.phase, Phase::Running(Vec::new()));
        let Phase::Reconcile { failed, error, .. } = &phase else {
            return;
        };
        let taken: Vec<_> = failed
            .iter()
            .map(|op| matches!(op, Op::Try { key, mode } if take(*key, *mode)))
            .collect();
        let stray = std::mem::take(&mut found);
        let is_held = |key, mode| held.contains(&Holding { key, mode });
        for (op, taken) in failed.iter().zip(taken) {
            match *op {
                Op::Try { key, .. } if taken => {
                    self.with(key, now, fx, |entry, cx| entry.tried(id, true, cx))
                }
                Op::Try { key, .. } | Op::Probe { key } => {
                    self.with(key, now, fx, |entry, cx| entry.request_failed(id, error, cx));
                }
                Op::Unlock { key, mode, .. } if !is_held(key, mode) => {
                    self.done(id, *op, true, now, fx);
                }
                Op::Unlock { key, hold, .. } => {
                    self.with(key, now, fx, |entry, cx| entry.unlock_again(hold, cx));
                }
                Op::Cancel { .. } => self.sessions.push(id, *op, fx),
                Op::Forget { .. } | Op::Lock { .. } => {}
            }
        }
        for Holding { key, mode } in stray {
            // Before anything else is done with the key.
            self.sessions.push_first(id, Op::Forget { key, mode });
        }
        self.sessions.rest(id, now);
    }
}

fn moved() -> Error {
    Error::new(
        ErrorKind::UnsupportedServer,
        "a statement ran in another server session than the one that holds the locks: \
         connect to PostgreSQL directly or through a pooler in session mode",
    )
}
