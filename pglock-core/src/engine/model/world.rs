//! The machine among callers, a server and other processes, with the runtime's part played step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::reference::Reference;
use super::server::{Pid, Server};
use crate::driver::{self, Answer, Holding, Operation};
use crate::engine::event::{
    Effect, Effects, Event, HoldId, Job, Moment, Outcome, Patience, Server as Facts, SessionId,
    WaiterId,
};
use crate::engine::limits::Limits;
use crate::engine::state::State;
use crate::error::{Error, ErrorKind};
use crate::key::LockKey;
use crate::looking::LockEntry;
use crate::mode::Mode;

/// Backend pids of sessions of another process; ours are higher.
pub(crate) const REMOTE: [Pid; 2] = [1, 2];
const FIRST_PID: Pid = 100;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) state: State,
    pub(super) limits: Limits,
    pub(crate) now: Moment,
    pub(crate) server: Server,
    pub(crate) links: BTreeMap<SessionId, Link>,
    /// Server sessions whose client has gone, with what they had been told to do.
    pub(super) orphans: Vec<(Pid, Vec<Operation>)>,
    pub(crate) reference: Reference,
    pub(super) keys: Vec<LockKey>,
    /// Something went wrong, so that callers may be told failures.
    pub(crate) faulty: bool,
    /// How often the server that sessions are opened at was promoted.
    pub(crate) timeline: i64,
    /// What the sessions were told to do, and the answers to callers.
    pub(crate) sent: Vec<(SessionId, Operation)>,
    pub(crate) outcomes: BTreeMap<usize, Outcome>,
    next_pid: Pid,
    next_waiter: usize,
}

/// The runtime's task for a session, and its connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) pid: Pid,
    pub(crate) stage: Stage,
    kicked: bool,
    /// When the server was told something last.
    pub(super) heard: Moment,
    /// The server has ended the session because it was told nothing.
    pub(super) lapsed: bool,
    /// Until when guards believe.
    pub(super) believed: Moment,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Stage {
    Connecting,
    Idle,
    /// On its way to the server.
    Sent(Vec<Operation>),
    SentHoldings,
    SentLook,
    /// In the server's queue, or granted from there.
    Waiting,
    /// On its way back.
    Answer(Vec<Answer>),
    Found(Vec<Holding>),
    Seen(Vec<LockEntry>),
    /// Nothing comes any more, not even that it has ended.
    Silent,
    Refusal,
    Closing,
    Broken,
}

impl World {
    pub(crate) fn new(limits: Limits, keys: Vec<LockKey>, seed: u64) -> Self {
        Self {
            state: State::new(limits.clone(), seed),
            limits,
            now: Moment::ZERO,
            server: Server::default(),
            links: BTreeMap::new(),
            orphans: Vec::new(),
            reference: Reference::default(),
            keys,
            faulty: false,
            timeline: 0,
            sent: Vec::new(),
            outcomes: BTreeMap::new(),
            next_pid: FIRST_PID,
            next_waiter: 0,
        }
    }

    // Callers.

    pub(crate) fn acquire(&mut self, key: LockKey, mode: Mode, patience: Patience) -> WaiterId {
        let waiter = self.new_waiter();
        self.reference.acquire(waiter, key, mode, patience);
        self.note_contention();
        self.step(Event::Acquire { waiter, key, mode, patience });
        waiter
    }

    pub(crate) fn abandon(&mut self, waiter: WaiterId, key: LockKey) {
        // What is due may answer it before it goes.
        self.tick();
        if !self.reference.unresolved().iter().any(|(unresolved, _)| *unresolved == waiter) {
            return;
        }
        let looks = self.reference.looks(waiter);
        self.reference.forget(waiter);
        self.step(match looks {
            true => Event::LookAway { waiter },
            false => Event::Abandon { waiter, key },
        });
    }

    pub(crate) fn release(
        &mut self,
        key: LockKey,
        hold: HoldId,
        confirm: bool,
    ) -> Option<WaiterId> {
        self.tick();
        let confirm = confirm.then(|| self.new_waiter());
        let has_ended =
            |session| self.links.get(&session).is_none_or(|link| link.stage == Stage::Broken);
        self.reference.release(key, hold, confirm, has_ended);
        self.step(Event::Release { key, hold, confirm });
        confirm
    }

    pub(crate) fn look(&mut self, key: Option<LockKey>) -> WaiterId {
        let waiter = self.new_waiter();
        self.reference.look(waiter);
        self.step(Event::Look { waiter, key });
        waiter
    }

    pub(crate) fn close(&mut self) {
        self.reference.closed = true;
        self.step(Event::Close);
        let waiting = self.reference.keys.values().map(|key| key.waiting.len());
        assert_eq!(waiting.sum::<usize>(), 0, "closing resolves everybody");
    }

    /// How many sessions were opened.
    pub(crate) fn opened(&self) -> i32 {
        self.next_pid - FIRST_PID
    }

    pub(crate) fn advance(&mut self, time: Duration) {
        self.now += time;
        self.end_silent_sessions();
        self.tick();
    }

    /// The machine does by itself what is due, before anything else: so does the model, to see it.
    fn tick(&mut self) {
        if self.state.alarm().is_some_and(|at| at <= self.now) {
            self.step(Event::Tick);
        }
    }

    fn new_waiter(&mut self) -> WaiterId {
        self.next_waiter += 1;
        WaiterId(self.next_waiter)
    }

    // The runtime.

    pub(crate) fn step(&mut self, event: Event) {
        if !matches!(event, Event::Tick) {
            self.tick();
        }
        for key in self.probes_answered(&event) {
            self.reference.probed(key, self.now);
        }
        let is_tick = matches!(event, Event::Tick);
        let before = self.askable(is_tick);
        let mut fx = Effects::default();
        self.state.step(event, self.now, &mut fx);
        let askable = &before & &self.askable(is_tick);
        let nobody_to_ask = &self.keys.iter().copied().collect() - &askable;
        for effect in fx.0 {
            self.carry_out(effect, &nobody_to_ask);
        }
        self.note_contention();
        self.check();
    }

    fn carry_out(&mut self, effect: Effect, nobody_to_ask: &BTreeSet<LockKey>) {
        match effect {
            Effect::Resolve { waiter, outcome } => self.resolve(waiter, outcome, nobody_to_ask),
            Effect::Open(session) => {
                let connecting = self.links.values().any(|l| l.stage == Stage::Connecting);
                assert!(!connecting, "sessions are opened one by one");
                self.next_pid += 1;
                let link = Link {
                    pid: self.next_pid,
                    stage: Stage::Connecting,
                    kicked: false,
                    heard: self.now,
                    lapsed: false,
                    believed: Moment::ZERO,
                };
                self.links.insert(session, link);
            }
            Effect::Kick(session) => {
                if let Some(link) = self.links.get_mut(&session) {
                    link.kicked = true;
                }
            }
            Effect::Confirmed { session, until } => {
                let link = self.links.get_mut(&session).expect("only what is there is confirmed");
                link.believed = until;
            }
            Effect::Lost { session, .. } => self.reference.lost(session),
            Effect::Abort(session) => self.cut(session),
        }
    }

    fn resolve(&mut self, waiter: WaiterId, outcome: Outcome, nobody_to_ask: &BTreeSet<LockKey>) {
        match &outcome {
            &Outcome::Granted { hold, session } => {
                assert!(
                    self.links.contains_key(&session),
                    "a lock is granted by a session that lives"
                );
                self.reference.granted(
                    waiter,
                    hold,
                    session,
                    self.now,
                    &self.limits,
                    nobody_to_ask,
                );
            }
            Outcome::Busy => self.reference.busy(waiter),
            Outcome::Released => self.reference.released(waiter),
            Outcome::Seen(_) => self.reference.forget(waiter),
            Outcome::Failed(error) => {
                let expected = self.reference.failed(waiter);
                let excused = match self.reference.closed {
                    true => error.kind() == ErrorKind::Closed || self.faulty,
                    false => self.faulty && error.kind() != ErrorKind::Closed,
                };
                assert!(expected || excused, "nothing went wrong, but a caller was told: {error}");
            }
        }
        self.outcomes.insert(waiter.0, outcome);
    }

    /// The sessions that can do something of their own accord.
    pub(crate) fn movable(&self) -> Vec<SessionId> {
        let can_move = |link: &Link| match link.stage {
            Stage::Idle => link.kicked,
            Stage::Waiting => !self.server.is_waiting(link.pid),
            Stage::Silent => false,
            _ => true,
        };
        let links = self.links.iter().filter(|(_, link)| can_move(link));
        links.map(|(id, _)| *id).collect()
    }

    /// One move of one session. With `luck`, a cancel hits what it can hit.
    pub(crate) fn turn(&mut self, id: SessionId, luck: bool) {
        self.tick();
        let link = self.links.get_mut(&id).expect("only what is there moves");
        match std::mem::replace(&mut link.stage, Stage::Idle) {
            Stage::Connecting => {
                let timeline = self.timeline;
                let server = Facts { pid: link.pid, has_lease: true, timeline, ..Facts::default() };
                link.heard = self.now;
                self.step(Event::Opened { session: id, server });
                self.ask_next(id);
            }
            Stage::Idle => {
                link.kicked = false;
                self.ask_next(id);
            }
            Stage::Sent(operations) => {
                let pid = link.pid;
                link.heard = self.now;
                link.stage = Stage::Broken;
                let stage = self.execute(pid, &operations, luck);
                self.links.get_mut(&id).expect("it was there").stage = stage;
            }
            Stage::SentHoldings => {
                link.heard = self.now;
                link.stage = Stage::Found(self.server.holdings(link.pid));
            }
            Stage::SentLook => {
                link.heard = self.now;
                link.stage = Stage::Seen(self.server.rows());
            }
            Stage::Seen(locks) => {
                self.step(Event::Seen { session: id, locks });
                self.ask_next(id);
            }
            Stage::Found(holdings) => {
                self.step(Event::Found { session: id, holdings: Some(holdings) });
                self.ask_next(id);
            }
            Stage::Waiting => {
                let granted = driver::Outcome { place: 0, done: true };
                self.answer(id, vec![granted.to_row()]);
            }
            Stage::Answer(rows) => self.answer(id, rows),
            Stage::Refusal => {
                let error = refusal();
                self.step(Event::Refused { session: id, error });
                self.ask_next(id);
            }
            Stage::Closing => {
                self.server.end(link.pid);
                self.end(id);
            }
            Stage::Silent => link.stage = Stage::Silent,
            Stage::Broken => self.end(id),
        }
    }

    fn answer(&mut self, id: SessionId, rows: Vec<Answer>) {
        self.step(Event::Answered { session: id, rows });
        self.ask_next(id);
    }

    fn end(&mut self, id: SessionId) {
        let error = Error::new(ErrorKind::Connection, "the connection has ended");
        self.step(Event::Ended { session: id, error });
        self.links.remove(&id);
        self.check();
    }

    fn ask_next(&mut self, id: SessionId) {
        let mut fx = Effects::default();
        let job = self.state.next(id, self.now, &mut fx);
        for effect in fx.0 {
            self.carry_out(effect, &BTreeSet::new());
        }
        let pid = self.links[&id].pid;
        if let Job::Run(operations) = &job {
            self.check_request(pid, operations);
            self.sent.extend(operations.iter().map(|operation| (id, *operation)));
        }
        let link = self.links.get_mut(&id).expect("it was there");
        link.stage = match job {
            Job::Run(operations) => Stage::Sent(operations.into_vec()),
            Job::Holdings => Stage::SentHoldings,
            Job::Look(_) => Stage::SentLook,
            Job::Idle => Stage::Idle,
            Job::Close => Stage::Closing,
        };
        self.check();
    }

    // The server.

    pub(super) fn execute(&mut self, pid: Pid, operations: &[Operation], luck: bool) -> Stage {
        let mut rows = Vec::new();
        for (place, operation) in operations.iter().enumerate() {
            let done = match *operation {
                Operation::TryLock(key, mode) => self.server.try_lock(pid, key, mode),
                Operation::Unlock(key, mode) => self.server.unlock(pid, key, mode),
                Operation::Lock(key, mode) => {
                    self.server.lock(pid, key, mode);
                    return Stage::Waiting;
                }
                Operation::Probe(key) => {
                    let free = self.server.try_lock(pid, key, Mode::Read);
                    free && self.server.unlock(pid, key, Mode::Read)
                }
                Operation::Downgrade(key) => self.server.downgrade(pid, key),
                Operation::Cancel(target) => self.cancel(target, luck),
                Operation::UnlockAll => {
                    self.server.unlock_all(pid);
                    true
                }
                Operation::Ping => true,
            };
            rows.push(driver::Outcome { place, done }.to_row());
        }
        Stage::Answer(rows)
    }

    /// Cancels what the server session is doing, which must be a wait that nobody here wants any more.
    fn cancel(&mut self, pid: Pid, luck: bool) -> bool {
        let Some((id, link)) = self.links.iter_mut().find(|(_, link)| link.pid == pid) else {
            self.server.leave_queue(pid);
            return false;
        };
        let session = self.state.sessions.get(*id);
        let meant = session.is_none_or(|s| s.doomed || s.cancel_since.is_some());
        let is_doomed = session.is_none_or(|s| s.doomed);
        match &link.stage {
            Stage::Sent(operations) if matches!(operations[..], [Operation::Lock(..)]) => {
                assert!(meant, "a cancel has hit a later wait");
                if luck {
                    link.stage = Stage::Refusal;
                }
            }
            Stage::Sent(_) | Stage::SentHoldings | Stage::SentLook => {
                assert!(is_doomed, "a cancel has hit {link:?}, which is no wait");
                if luck {
                    link.stage = Stage::Refusal;
                }
            }
            Stage::Waiting => {
                assert!(meant, "a cancel has hit a later wait");
                if luck || self.server.is_waiting(pid) {
                    link.stage = Stage::Refusal;
                    self.server.leave_queue(pid);
                }
            }
            _ => {}
        }
        true
    }
}

fn refusal() -> Error {
    Error::new(ErrorKind::Driver, "the server refused the statement")
}
