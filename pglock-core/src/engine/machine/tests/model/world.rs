//! The machine with callers, a server and other processes. The runtime's part is played step by
//! step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::early::Early;
use super::link::{Link, Stage};
use super::proofs::Proofs;
use super::reference::Reference;
use super::runs::Run;
use super::server::{Pid, Server};
use crate::driver::{Operation, Reason};
use crate::engine::machine::Machine;
use crate::engine::machine::config::Config;
use crate::engine::machine::event::{
    CallerId, Effect, Effects, Event, GrantId, Moment, Outcome, Patience, SessionId,
};
use crate::error::{Error, ErrorKind};
use crate::key::LockKey;
use crate::mode::Mode;

/// Backend pids of sessions of another process; ours are higher.
pub(crate) const REMOTE: [Pid; 2] = [1, 2];
const FIRST_PID: Pid = 100;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(super) config: Config,
    pub(crate) now: Moment,
    pub(crate) server: Server,
    pub(crate) links: BTreeMap<SessionId, Link>,
    /// Server sessions whose client is gone, with the requests that they still have.
    pub(super) orphans: Vec<(Pid, Vec<Operation>)>,
    pub(crate) reference: Reference,
    pub(super) runs: Vec<Run>,
    pub(super) keys: Vec<LockKey>,
    pub(super) proofs: Proofs,
    pub(super) early: Early,
    /// Whether there was a fault, so that callers may fail.
    pub(crate) faulty: bool,
    /// The server refuses every operation on this key.
    pub(crate) refuses: Option<(LockKey, Reason)>,
    /// Keys on which it has refused operations, so that callers that want one may fail.
    pub(crate) refused: BTreeSet<LockKey>,
    /// Whether a statement ended within an operation, so that a session may hold a stray lock.
    pub(super) has_strays: bool,
    /// Whether sessions may cancel each other's waits.
    pub(crate) may_cancel: bool,
    /// How often the server to which sessions connect was promoted.
    pub(crate) timeline: i64,
    /// The requests sent to sessions, and the outcomes of callers.
    pub(crate) sent: Vec<(SessionId, Operation)>,
    pub(crate) outcomes: BTreeMap<CallerId, Outcome>,
    /// Why sessions were lost, in order.
    pub(crate) losses: Vec<Error>,
    /// What was logged: keys whose waits began anew, and the number of refused cancels.
    pub(crate) repeated: Vec<LockKey>,
    pub(crate) refused_cancels: usize,
    /// The numbers of refused and of other statements.
    pub(crate) statements: [usize; 2],
    /// All outages, and the lengths of those that are over.
    pub(crate) outages: Vec<(SessionId, Error)>,
    pub(crate) ended_outages: Vec<Duration>,
    next_pid: Pid,
    next_caller: usize,
}

impl World {
    pub(crate) fn new(config: Config, keys: Vec<LockKey>, seed: u64) -> Self {
        Self {
            machine: Machine::new(config.clone(), seed),
            config,
            now: Moment::START,
            server: Server::default(),
            links: BTreeMap::new(),
            orphans: Vec::new(),
            reference: Reference::default(),
            runs: Vec::new(),
            keys,
            proofs: Proofs::default(),
            early: Early::default(),
            faulty: false,
            refuses: None,
            refused: BTreeSet::new(),
            has_strays: false,
            may_cancel: true,
            timeline: 0,
            sent: Vec::new(),
            outcomes: BTreeMap::new(),
            losses: Vec::new(),
            repeated: Vec::new(),
            refused_cancels: 0,
            statements: [0; 2],
            outages: Vec::new(),
            ended_outages: Vec::new(),
            next_pid: FIRST_PID,
            next_caller: 0,
        }
    }

    // Callers.

    pub(crate) fn acquire(&mut self, key: LockKey, mode: Mode, patience: Patience) -> CallerId {
        let caller = self.new_caller();
        self.reference.acquire(caller, key, mode, patience);
        self.note_contention();
        self.step(Event::Acquire { caller, key, mode, patience });
        caller
    }

    pub(crate) fn abandon(&mut self, caller: CallerId, key: LockKey) {
        // Whatever is due may resolve it before it leaves.
        self.tick();
        if !self.reference.unresolved().iter().any(|(unresolved, _)| *unresolved == caller) {
            return;
        }
        let looks = self.reference.looks(caller);
        self.reference.forget(caller);
        self.leave_run(caller);
        self.step(match looks {
            true => Event::AbandonInquiry { caller },
            false => Event::Abandon { caller, key },
        });
    }

    pub(crate) fn release(
        &mut self,
        key: LockKey,
        grant: GrantId,
        confirm: bool,
    ) -> Option<CallerId> {
        self.abandon_proofs(key, grant);
        self.tick();
        let confirm = confirm.then(|| self.new_caller());
        let has_ended =
            |session| self.links.get(&session).is_none_or(|link| link.stage == Stage::Broken);
        self.reference.release(key, grant, confirm, has_ended);
        self.step(Event::Release { key, grant, releaser: confirm });
        self.check_readers_behind(key, grant);
        confirm
    }

    pub(crate) fn look(&mut self, key: Option<LockKey>) -> CallerId {
        let caller = self.new_caller();
        self.reference.look(caller);
        self.step(Event::Inspect { caller, key });
        caller
    }

    pub(crate) fn check_server(&mut self) -> CallerId {
        let caller = self.new_caller();
        self.reference.look(caller);
        self.step(Event::Check { caller });
        caller
    }

    pub(crate) fn close(&mut self) {
        self.tick();
        self.reference.closed = true;
        self.step(Event::Close { why: Error::closed() });
        let waiting = self.reference.keys.values().map(|key| key.waiting.len());
        let waiting = waiting.sum::<usize>() + self.reference.upgrades().count();
        assert_eq!(waiting, 0, "closing resolves everybody");
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

    /// The machine first does what is due on its own. So does the model, to observe it.
    pub(super) fn tick(&mut self) {
        if self.machine.poll_timeout().is_some_and(|at| at <= self.now) {
            self.step(Event::Tick);
        }
    }

    pub(super) fn new_caller(&mut self) -> CallerId {
        self.next_caller += 1;
        CallerId::at(self.next_caller)
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
        self.machine.handle(event, self.now, &mut fx);
        self.note_grants();
        let askable = &before & &self.askable(is_tick);
        let nobody_to_ask = &self.keys.iter().copied().collect() - &askable;
        for effect in fx.0 {
            self.carry_out(effect, &nobody_to_ask);
        }
        self.note_contention();
        self.check();
    }

    pub(super) fn carry_out(&mut self, effect: Effect, nobody_to_ask: &BTreeSet<LockKey>) {
        match effect {
            Effect::Resolve { caller, outcome } => self.resolve(caller, outcome, nobody_to_ask),
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
                    believed: Moment::START,
                };
                self.links.insert(session, link);
            }
            Effect::Kick(session) => {
                if let Some(link) = self.links.get_mut(&session) {
                    link.kicked = true;
                }
            }
            Effect::LeaseRenewed { session, until } => {
                let link = self.links.get_mut(&session).expect("only what is there is confirmed");
                link.believed = until;
            }
            Effect::Lost { session, held, error } => {
                let guarded = self.reference.guarded_by(session);
                assert_eq!(held, guarded, "a loss is one of locks that guards have");
                self.losses.push(error);
                self.reference.lost(session);
            }
            Effect::Abort(session) => match self.machine.sessions.get(session) {
                Some(s) if s.is_closing() => self.drop_link(session),
                _ => self.cut(session),
            },
            Effect::WaitCancelled { key, .. } => self.repeated.push(key),
            Effect::CancelRefused { .. } => self.refused_cancels += 1,
            Effect::Down { session, error } => self.go_down(session, error),
            Effect::Up { down_for, .. } => self.come_up(down_for),
        }
    }

    fn resolve(&mut self, caller: CallerId, outcome: Outcome, nobody_to_ask: &BTreeSet<LockKey>) {
        match &outcome {
            &Outcome::Granted { grant, session } => {
                assert!(
                    self.links.contains_key(&session),
                    "a lock is granted by a session that lives"
                );
                self.proofs.granted(self.reference.wanted(caller));
                self.reference.granted(
                    caller,
                    grant,
                    session,
                    self.now,
                    &self.config,
                    nobody_to_ask,
                );
                self.note_pass(grant);
            }
            Outcome::Busy => self.reference.busy(caller, &self.refused),
            Outcome::Skipped => self.reference.skipped(caller),
            Outcome::Upgraded => {
                self.note_upgrade(caller);
                self.reference.upgraded(caller);
            }
            Outcome::Released => self.reference.released(caller),
            Outcome::Inspected(_) | Outcome::Checked => self.reference.forget(caller),
            &Outcome::Seen(seen) => self.seen(caller, seen),
            &Outcome::Token(token) => self.minted(caller, token),
            Outcome::Failed(error) => {
                let expected = self.reference.failed(caller);
                let is_refused = error.key().is_some_and(|key| self.refused.contains(&key));
                let excused = match error.kind() {
                    _ if is_refused => true,
                    ErrorKind::Closed => self.reference.closed,
                    ErrorKind::LockTableFull => self.faulty || self.is_full(self.run_of(caller)),
                    _ => self.faulty,
                };
                assert!(expected || excused, "no fault occurred, but a caller failed: {error}");
            }
        }
        self.check_run(caller, &outcome);
        self.outcomes.insert(caller, outcome);
    }
}
