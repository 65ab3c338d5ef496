//! The state machine: what happens on which event.

use std::collections::HashMap;
use std::collections::hash_map;

use super::entry::{Context, Entry, Release, Request};
use super::event::{Effect, Effects, Event, HoldId, Job, Moment, Outcome, SessionId, WaiterId};
use super::limits::Limits;
use super::queue::Waiter;
use super::sessions::{Alarm, Op, Phase, Role, Session, Sessions};
use crate::driver::{Holding, Operation, Row};
use crate::error::{Error, ErrorKind};
use crate::key::LockKey;
use crate::mode::Mode;

#[derive(Debug)]
pub(crate) struct State {
    pub(super) entries: HashMap<LockKey, Entry>,
    pub(super) sessions: Sessions,
    holds: u64,
    arrivals: u64,
    closed: bool,
}

impl State {
    pub(crate) fn new(limits: Limits, seed: u64) -> Self {
        Self {
            entries: HashMap::new(),
            sessions: Sessions::new(limits, seed),
            holds: 0,
            arrivals: 0,
            closed: false,
        }
    }

    /// The one transition function: no I/O, no clock, the same effects for the same history.
    pub(crate) fn step(&mut self, event: Event, now: Moment, fx: &mut Effects) {
        match event {
            Event::Acquire { waiter, key, mode, patience } => {
                if self.closed {
                    return fx.fail(waiter, key, &Error::closed());
                }
                self.arrivals += 1;
                let waiter = Waiter { id: waiter, mode, patience, arrival: self.arrivals };
                self.entries.entry(key).or_default().queue.push_back(waiter);
                self.with(key, now, fx, |entry, cx| entry.settle(cx));
            }
            Event::Abandon { waiter, key } => self.with(key, now, fx, |entry, cx| {
                if entry.queue.remove(waiter).is_some() {
                    entry.settle(cx);
                } else if let Some(hold) =
                    entry.holds.iter_mut().find(|h| h.confirm == Some(waiter))
                {
                    hold.confirm = None;
                }
            }),
            Event::Release { key, hold, confirm } => self.release(key, hold, confirm, now, fx),
            Event::Opened { session, pid } => self.opened(session, pid, now, fx),
            Event::OpenFailed { session, error, permanent } => {
                self.open_failed(session, &error, permanent, now, fx);
            }
            Event::Answered { session, rows } => self.answered(session, &rows, now, fx),
            Event::Refused { session, error } => self.refused(session, error, now, fx),
            Event::Ended { session, error } => self.ended(session, &error, now, fx),
            Event::Tick => self.tick(now, fx),
            Event::Close => self.close(now, fx),
        }
        self.give_slots(now, fx);
    }

    /// When to call [`step`](Self::step) with [`Event::Tick`], at the latest.
    pub(crate) fn alarm(&self) -> Option<Moment> {
        self.sessions.next_alarm()
    }

    /// Whether the machine is closed and its last session gone.
    pub(crate) fn is_finished(&self) -> bool {
        self.closed && self.sessions.is_empty()
    }

    /// Runs `act` on the entry, if there is one, and forgets the entry if nothing is left of it.
    fn with(
        &mut self,
        key: LockKey,
        now: Moment,
        fx: &mut Effects,
        act: impl FnOnce(&mut Entry, &mut Context<'_>),
    ) {
        let hash_map::Entry::Occupied(mut entry) = self.entries.entry(key) else {
            return;
        };
        let cx =
            &mut Context { key, now, sessions: &mut self.sessions, holds: &mut self.holds, fx };
        act(entry.get_mut(), cx);
        if entry.get().is_unused() {
            entry.remove();
        }
    }

    fn release(
        &mut self,
        key: LockKey,
        id: HoldId,
        confirm: Option<WaiterId>,
        now: Moment,
        fx: &mut Effects,
    ) {
        let hold = self.entries.get_mut(&key).and_then(|e| e.holds.iter_mut().find(|h| h.id == id));
        let Some(hold) = hold.filter(|hold| hold.guards > 0) else {
            if let Some(confirm) = confirm {
                let error = if self.closed { Error::closed() } else { Error::lost() };
                fx.fail(confirm, key, &error);
            }
            return;
        };
        hold.guards -= 1;
        if hold.guards > 0 {
            if let Some(confirm) = confirm {
                fx.resolve(confirm, Outcome::Released);
            }
            return;
        }
        hold.confirm = confirm;
        self.with(key, now, fx, |entry, cx| entry.settle(cx));
    }

    /// Gives free waiting sessions to the keys that want one, in their order.
    fn give_slots(&mut self, now: Moment, fx: &mut Effects) {
        let mut passed = None;
        while let Some(session) = self.sessions.free_waiting()
            && let Some((place, key)) = self.sessions.next_in_line(passed)
        {
            passed = Some(place);
            let request = self.entries.get(&key).map(|entry| entry.request);
            // It may be trying just now, and wants the session if that fails.
            if matches!(request, Some(Request::Slot { .. })) {
                self.sessions.leave_line(place);
                self.with(key, now, fx, |entry, cx| entry.take_slot(session, cx));
            }
        }
    }

    fn tick(&mut self, now: Moment, fx: &mut Effects) {
        while let Some((at, alarm)) = self.sessions.due_alarm(now) {
            match alarm {
                Alarm::Poll(key) => self.with(key, now, fx, |entry, cx| entry.poll(at, cx)),
                Alarm::CancelAgain(session) => self.sessions.cancel_again(session, now, fx),
                Alarm::Connect => self.sessions.connect_next(now, fx),
                Alarm::CloseIdle(session) => self.sessions.close_if_idle(session, now, fx),
            }
        }
    }

    fn close(&mut self, now: Moment, fx: &mut Effects) {
        self.closed = true;
        for (session, _) in self.sessions.iter().filter(|(_, s)| s.held > 0) {
            fx.push(Effect::Lost { session, error: Error::closed() });
        }
        for key in self.keys() {
            self.with(key, now, fx, |entry, cx| {
                while let Some(waiter) = entry.queue.pop_front() {
                    cx.fx.fail(waiter.id, key, &Error::closed());
                }
                for hold in &mut entry.holds {
                    hold.guards = 0;
                }
                entry.settle(cx);
            });
        }
        for id in self.sessions.ids() {
            let session = self.sessions.get(id);
            if session.is_some_and(|s| matches!(s.phase, Phase::Planned)) {
                self.ended(id, &Error::closed(), now, fx);
            }
        }
        self.sessions.kick_all(fx);
    }

    /// In order, so that the same history has the same effects.
    fn keys(&self) -> Vec<LockKey> {
        let mut keys: Vec<_> = self.entries.keys().copied().collect();
        keys.sort_unstable();
        keys
    }

    // Sessions: what they are to do, and what they answer.

    /// What the session is to do now. The runtime asks when the session is idle and has been kicked, and after each answer.
    pub(crate) fn next(&mut self, id: SessionId) -> Job {
        let Some(session) = self.sessions.get_mut(id) else {
            return Job::Close;
        };
        // A late cancel may hit whatever it does next.
        if session.doomed && session.held == 0 && !matches!(session.phase, Phase::Running(_)) {
            session.phase = Phase::Closing;
        }
        match &mut session.phase {
            Phase::Closing => return Job::Close,
            Phase::Planned | Phase::Opening | Phase::Running(_) => return Job::Idle,
            // Nothing else may be hit by what is meant for a wait.
            _ if session.cancels > 0 => return Job::Idle,
            Phase::CleanUp { running, .. } => {
                *running = true;
                return Job::Run(vec![Operation::UnlockAll]);
            }
            Phase::Reconcile { running, .. } => {
                *running = true;
                return Job::Holdings;
            }
            Phase::Idle => {}
        }
        let ops = self.take_ops(id);
        let last = self.sessions.iter().all(|(_, s)| s.role == Role::Shared);
        let Some(session) = self.sessions.get_mut(id) else {
            return Job::Close;
        };
        if ops.is_empty() {
            // Shared sessions go last: waits are cancelled through them.
            if self.closed && session.outbox.is_empty() && (session.role == Role::Waiting || last) {
                session.phase = Phase::Closing;
                return Job::Close;
            }
            return Job::Idle;
        }
        let operations = ops.iter().map(|op| op.to_operation()).collect();
        session.phase = Phase::Running(ops);
        Job::Run(operations)
    }

    fn take_ops(&mut self, id: SessionId) -> Vec<Op> {
        let mut ops = Vec::new();
        while ops.len() < self.sessions.limits.batch
            && let Some(session) = self.sessions.get_mut(id)
            && let Some(op) = session.outbox.pop_front()
        {
            if let Op::Lock { .. } = op {
                debug_assert!(
                    session.held == 0 && ops.is_empty(),
                    "a session waits while it holds nothing"
                );
                ops.push(op);
                break;
            }
            if self.is_wanted(op) {
                ops.push(op);
            }
        }
        ops
    }

    /// Whether the operation still makes sense; notes that it is sent.
    fn is_wanted(&mut self, op: Op) -> bool {
        let (Op::Try { key, .. } | Op::Probe { key } | Op::Unlock { key, .. }) = op else {
            // The pid of a session that has gone may be another one's by now.
            return !matches!(op, Op::Cancel { target, .. } if self.sessions.get(target).is_none());
        };
        let hash_map::Entry::Occupied(mut entry) = self.entries.entry(key) else {
            return false;
        };
        if let Op::Unlock { hold: id, .. } = op {
            let hold = entry.get_mut().holds.iter_mut().find(|hold| hold.id == id);
            // It may have passed to another caller here since.
            let Some(hold) = hold.filter(|hold| hold.release == Release::Queued) else {
                return false;
            };
            hold.release = Release::Sent;
            return true;
        }
        if entry.get().queue.is_empty() {
            entry.get_mut().request = Request::None;
            if entry.get().is_unused() {
                entry.remove();
            }
            return false;
        }
        if let Request::Try { asked, .. } | Request::Probe { asked, .. } =
            &mut entry.get_mut().request
        {
            *asked = Some(self.arrivals);
        }
        true
    }

    fn opened(&mut self, id: SessionId, pid: i32, now: Moment, fx: &mut Effects) {
        self.sessions.note_opened();
        if let Some(session) = self.sessions.get_mut(id) {
            session.pid = pid;
        }
        self.sessions.rest(id, now);
        self.sessions.connect_next(now, fx);
    }

    fn open_failed(
        &mut self,
        id: SessionId,
        error: &Error,
        permanent: bool,
        now: Moment,
        fx: &mut Effects,
    ) {
        let Some(session) = self.sessions.remove(id) else {
            return;
        };
        self.sessions.note_failure(now);
        self.sessions.connect_next(now, fx);
        // Without a session to wait in, the keys that wanted it go on trying.
        if session.role == Role::Shared {
            let sessions = &self.sessions;
            let give_up = permanent
                || !sessions.ever_connected
                || sessions
                    .down_since
                    .is_some_and(|since| now >= since + sessions.limits.reconnect_timeout);
            self.fail_unserved(id, error, give_up, now, fx);
            self.reissue_cancels(&session, now, fx);
        }
        if self.closed {
            self.sessions.kick_all(fx);
        }
    }

    /// Tells those whose wish went to this session that it cannot be fulfilled; with `all`, also those who would wait.
    fn fail_unserved(
        &mut self,
        id: SessionId,
        error: &Error,
        all: bool,
        now: Moment,
        fx: &mut Effects,
    ) {
        for key in self.keys() {
            self.with(key, now, fx, |entry, cx| {
                if !entry.session_ended(id, cx.fx, key) {
                    return;
                }
                entry.queue.take_tries(|waiter| cx.fx.fail(waiter.id, key, error));
                while all && let Some(waiter) = entry.queue.pop_front() {
                    cx.fx.fail(waiter.id, key, error);
                }
                entry.settle(cx);
            });
        }
    }

    fn answered(&mut self, id: SessionId, rows: &[Row], now: Moment, fx: &mut Effects) {
        self.sessions.note_answer(id);
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        match &mut session.phase {
            Phase::Running(ops) => {
                let Some(results) = results(rows, ops.len()) else {
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
                if results(rows, 1).is_none() {
                    return self.drop_session(id, now, fx);
                }
                let (failed, error) = (*failed, error.clone());
                session.cancel_since = None;
                self.sessions.rest(id, now);
                if let Op::Lock { key, .. } = failed {
                    self.with(key, now, fx, |entry, cx| entry.waited(id, Some(&error), cx));
                }
            }
            Phase::Reconcile { running: true, .. } => self.reconcile(id, rows, now, fx),
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

    fn refused(&mut self, id: SessionId, error: Error, now: Moment, fx: &mut Effects) {
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
    fn reconcile(&mut self, id: SessionId, rows: &[Row], now: Moment, fx: &mut Effects) {
        let Some(((1, _), rows)) = rows.split_first() else {
            return self.ended(id, &moved(), now, fx);
        };
        let mut found: Vec<_> = rows.iter().filter_map(|row| Holding::from_row(*row)).collect();
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
        let held = |key, mode| {
            rows.iter().filter_map(|r| Holding::from_row(*r)).any(|h| h == Holding { key, mode })
        };
        for (op, taken) in failed.iter().zip(taken) {
            match *op {
                Op::Try { key, .. } if taken => {
                    self.with(key, now, fx, |entry, cx| entry.tried(id, true, cx))
                }
                Op::Try { key, .. } | Op::Probe { key } => {
                    self.with(key, now, fx, |entry, cx| entry.request_failed(id, error, cx));
                }
                Op::Unlock { key, mode, .. } if !held(key, mode) => {
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

    /// Ends the session from here.
    fn drop_session(&mut self, id: SessionId, now: Moment, fx: &mut Effects) {
        fx.push(Effect::Kick(id));
        self.ended(
            id,
            &Error::new(
                ErrorKind::Connection,
                "the session was closed because its state was in doubt",
            ),
            now,
            fx,
        );
    }

    fn ended(&mut self, id: SessionId, error: &Error, now: Moment, fx: &mut Effects) {
        let Some(session) = self.sessions.remove(id) else {
            return;
        };
        fx.push(Effect::Lost { session: id, error: error.clone() });
        if session.has_failed() {
            self.sessions.note_failure(now);
        }
        self.sessions.connect_next(now, fx);
        if error.kind() == ErrorKind::UnsupportedServer {
            self.fail_unserved(id, error, true, now, fx);
        } else {
            for key in self.keys() {
                self.with(key, now, fx, |entry, cx| {
                    if entry.session_ended(id, cx.fx, key) {
                        entry.settle(cx);
                    }
                });
            }
        }
        self.reissue_cancels(&session, now, fx);
        if self.closed {
            self.sessions.kick_all(fx);
        }
    }

    /// Cancels that a vanished session was to carry out. They may yet come, so their targets are not to be used again.
    fn reissue_cancels(&mut self, gone: &Session, now: Moment, fx: &mut Effects) {
        let sent = match &gone.phase {
            Phase::Running(ops) | Phase::Reconcile { failed: ops, .. } => &ops[..],
            _ => &[],
        };
        for (op, was_sent) in
            sent.iter().map(|op| (op, true)).chain(gone.outbox.iter().map(|op| (op, false)))
        {
            if let Op::Cancel { target, .. } = *op {
                self.sessions.cancel_vanished(target, was_sent, now, fx);
            }
        }
    }
}

/// The results in the order of the operations, or nothing if the answer does not fit the question.
fn results(rows: &[Row], expected: usize) -> Option<Vec<bool>> {
    let mut results = vec![None; expected];
    for (place, result) in rows {
        let place = usize::try_from(*place).ok()?.checked_sub(1)?;
        *results.get_mut(place)? = *result;
    }
    results.into_iter().map(|result| result.map(|result| result == 1)).collect()
}

fn moved() -> Error {
    Error::new(
        ErrorKind::UnsupportedServer,
        "a statement ran in another server session than the one that holds the locks: \
         connect to PostgreSQL directly or through a pooler in session mode",
    )
}
