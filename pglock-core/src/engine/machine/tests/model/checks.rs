//! Conditions that must always hold.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::link::{Link, Stage};
use super::proofs::MARK;
use super::server::Pid;
use super::world::World;
use crate::driver::Operation;
use crate::engine::machine::Machine;
use crate::engine::machine::event::{Event, Patience, SessionId};
use crate::engine::machine::key::{Ask, Release, Why};
use crate::engine::machine::sessions::{Claims, Role};
use crate::key::LockKey;
use crate::mode::Mode;

impl World {
    pub(super) fn check_request(&self, pid: Pid, operations: &[Operation]) {
        assert!(operations.len() <= self.config.batch);
        for (nth, operation) in operations.iter().enumerate() {
            match *operation {
                Operation::Lock(..) => {
                    assert_eq!(operations.len(), 1, "a wait comes alone");
                    assert_eq!(self.server.holdings(pid), [], "who waits holds nothing");
                }
                // A mark is nothing that anybody here wants.
                Operation::Probe(key) if key != MARK => {
                    let given_back =
                        operations[..nth].contains(&Operation::Unlock(key, Mode::Read));
                    let held = self.server.count(pid, key, Mode::Read) > 0 && !given_back;
                    assert!(!held || self.faulty, "a holder is let past who waits");
                }
                Operation::TryAlso(..) | Operation::TryInstead(..) => {
                    let before = nth.checked_sub(1).map(|before| operations[before]);
                    let is_in_run = matches!(
                        before,
                        Some(
                            Operation::TryFirst(..)
                                | Operation::TryAlso(..)
                                | Operation::TryInstead(..)
                        )
                    );
                    assert!(is_in_run, "a run goes on right behind its beginning");
                }
                Operation::Downgrade(key) | Operation::LetIn(key) => {
                    let held = self.server.count(pid, key, Mode::Write) > 0;
                    assert!(held || self.faulty, "what is to be a read lock is none yet");
                }
                Operation::Upgrade(key) => {
                    assert_eq!(operations.len(), 1, "an upgrade comes alone");
                    let held = self.server.count(pid, key, Mode::Read) > 0;
                    assert!(held || self.faulty, "what is to be a write lock is none yet");
                }
                Operation::Cancel(target) => {
                    let is_cancel = |o: &Operation| matches!(o, Operation::Cancel(_));
                    assert!(operations.iter().all(is_cancel), "cancels come with cancels only");
                    let mut sessions = self.machine.sessions.iter();
                    assert!(
                        sessions.any(|(_, s)| s.pid() == target),
                        "an ended session is not cancelled: its pid may belong to another one"
                    );
                }
                _ => {}
            }
        }
    }

    pub(super) fn check(&self) {
        for (key, guard) in self.reference.guards() {
            let Some(link) = self.links.get(&guard.session).filter(|_| !guard.lost) else {
                assert!(guard.lost, "{guard:?} of {key} has no session");
                continue;
            };
            // A write lock also serves readers.
            let held = [guard.mode, Mode::Write].map(|mode| self.server.count(link.pid, key, mode));
            assert!(
                held.iter().any(|count| *count > 0) || link.stage == Stage::Broken,
                "{guard:?} of {key} is not held by {link:?}"
            );
            assert!(
                !link.lapsed || self.now >= link.believed,
                "{guard:?} of {key} relies on a lock that the server has given away: {link:?}"
            );
        }
        for (pid, holding, count) in self.server.held() {
            let once = count == 1 || self.has_strays || self.closes_with_its_last_lock(pid);
            assert!(once, "{pid} holds {holding:?} more than once");
        }
        self.check_machine();
    }

    /// Whether the session has a lock that it could not release: it takes no more of them. An
    /// operation that changes one of its locks may take that lock once more.
    fn closes_with_its_last_lock(&self, pid: Pid) -> bool {
        let mut sessions = self.machine.sessions.iter();
        sessions.any(|(_, session)| session.pid() == pid && session.is_doomed())
    }

    fn check_machine(&self) {
        let sessions = &self.machine.sessions;
        let count = |role| sessions.of_role(role).count();
        // A session that takes no more locks, but still holds some, has been replaced; and so has
        // an idle one that is being closed while a caller comes.
        let usable =
            sessions.of_role(Role::Shared).filter(|(_, session)| session.is_usable()).count();
        assert!(usable <= self.config.max_shared_sessions);
        assert!(count(Role::Waiting) <= self.config.max_waiting_sessions);
        // Without a session, nothing may need one.
        let may_be_without = self.reference.closed
            || sessions.server.is_none()
            || self.config.disconnect_when_idle && self.machine.keys.is_empty();
        assert!(may_be_without || count(Role::Shared) > 0, "it stays connected");
        let stats = self.machine.stats(self.now);
        let is_shown = stats.connected || stats.down_for.is_some();
        let is_connecting = self.config.disconnect_when_idle && count(Role::Shared) > 0;
        assert!(is_shown || is_connecting || may_be_without, "{stats:?}");
        for (id, session) in sessions.iter() {
            let entries = self.machine.keys.values();
            let grants = entries.flat_map(|entry| &entry.grants);
            assert_eq!(session.grants(), grants.filter(|h| h.session == id).count());
        }
        for (key, entry) in &self.machine.keys {
            assert!(!entry.is_unused(), "{key} is unused");
            let seeks = matches!(entry.ask, Ask::InLine { why: Why::Busy(_), .. });
            assert!(
                !seeks || entry.grants.is_empty(),
                "{key} is requested although this process holds it"
            );
            self.check_conversions(*key, entry);
        }
        assert!(sessions.line.len() <= self.machine.keys.len(), "only keys in use need a session");
        self.check_rotation();
        let mut claims = Claims::default();
        for entry in self.machine.keys.values() {
            claims.change(Claims::default(), entry.claims());
        }
        assert_eq!(sessions.claims, claims);
        let ours =
            self.server.held().filter(|(pid, ..)| self.links.values().any(|l| l.pid == *pid));
        let most = self
            .config
            .max_locks
            .unwrap_or(usize::MAX)
            .saturating_add(self.config.max_waiting_sessions);
        assert!(self.faulty || self.has_strays || ours.count() <= most, "the cap is exceeded");
    }

    /// A wait that had its turn must not keep out a key that needs its first one.
    fn check_rotation(&self) {
        let (sessions, turn) = (&self.machine.sessions, self.config.turn);
        let is_late = |since| self.now > since + turn * 4;
        let waiting = || sessions.of_role(Role::Waiting).map(|(_, session)| session);
        // A session that is closing after a long idle time makes room for a new one.
        let comes_free = waiting()
            .any(|s| s.is_about_to_be_free() || s.is_given_up() || !s.is_open() || s.is_closing());
        let first = waiting().find(|s| s.grants() == 0);
        let stays = first.is_some_and(|s| s.awaited().is_some() && is_late(s.last_sent()));
        let starves = sessions.line.iter().any(|(place, s)| place.lane == 0 && is_late(s.since));
        let excused = comes_free || !sessions.waits_in_queue();
        assert!(excused || !stays || !starves, "{first:?} is not interrupted: {sessions:?}");
    }

    /// Whether guards here, what the server does not take back, and waits there leave no room for so
    /// many more locks.
    pub(super) fn is_full(&self, more: usize) -> bool {
        let grants: HashSet<_> =
            self.reference.guards().into_iter().map(|(key, guard)| (key, guard.grant)).collect();
        let entries = self.machine.keys.values();
        let stuck = self.machine.keys.values().flat_map(|entry| &entry.grants);
        let stuck = stuck.filter(|grant| grant.release == Release::Refused);
        let waits = entries.filter(|e| matches!(e.ask, Ask::Wait { cancelled: false, .. }));
        let taken = grants.len() + stuck.count() + waits.count();
        self.config.max_locks.is_some_and(|cap| taken + more > cap)
    }

    /// Records what the server has granted: from then on, other processes are kept out, however
    /// late a caller gets the lock.
    pub(super) fn note_grants(&mut self) {
        for (key, entry) in &self.machine.keys {
            for grant in &entry.grants {
                self.reference.held(*key, grant.id, self.now);
            }
        }
    }

    /// Records which callers that would not wait have met a conflicting lock.
    pub(crate) fn note_contention(&mut self) {
        for (key, model) in &mut self.reference.keys {
            let mut claims = self.server.claims(*key);
            claims.retain(|(pid, _)| !is_ours(&self.machine, &self.links, *key, *pid));
            let upgrades = model.guards.iter().filter_map(|guard| guard.upgrade.as_ref());
            let mut earlier_waits = { upgrades }.any(|u| u.patience == Patience::Wait);
            let guards: Vec<_> = model.guards.iter().map(|guard| guard.mode).collect();
            for caller in &mut model.waiting {
                let others = claims.iter().map(|(_, mode)| *mode).chain(guards.clone());
                caller.contended |=
                    earlier_waits || { others }.any(|mode| !mode.is_compatible_with(caller.mode));
                earlier_waits |= caller.patience == Patience::Wait;
            }
            let mut holders = self.server.holders(*key);
            holders.retain(|pid| !is_ours(&self.machine, &self.links, *key, *pid));
            let is_shared = !holders.is_empty() || guards.len() > 1;
            for upgrade in model.guards.iter_mut().filter_map(|guard| guard.upgrade.as_mut()) {
                upgrade.contended |= is_shared;
            }
        }
    }

    pub(super) fn probes_answered(&self, event: &Event) -> BTreeSet<LockKey> {
        let Event::Answered { session, answer } = event else {
            return BTreeSet::new();
        };
        let session = self.machine.sessions.get(*session);
        let errands = session.map_or(&[][..], |session| session.errands());
        if errands.is_empty() {
            return BTreeSet::new();
        }
        let results = answer.results(errands.len()).expect("the answer fits");
        let free = errands.iter().zip(results).filter(|(_, done)| *done);
        free.filter_map(|(errand, _)| match errand.to_operation() {
            Operation::Probe(key) => Some(key),
            _ => None,
        })
        .collect()
    }

    /// The keys for which another session could probe whether a writer waits.
    pub(super) fn askable(&self, is_tick: bool) -> BTreeSet<LockKey> {
        let sessions = &self.machine.sessions;
        let waiting = sessions.of_role(Role::Waiting);
        let room = waiting.count() < self.config.max_waiting_sessions;
        let by_waiting =
            sessions.waits_in_queue() && (sessions.free_to_wait().is_some() || room && !is_tick);
        let shared = || sessions.of_role(Role::Shared);
        let to_come = shared().count() < self.config.max_shared_sessions
            || shared().any(|(_, s)| !s.is_open());
        let by_opening = to_come && !sessions.has_just_failed(self.now) && !is_tick;
        let askable = |key: &LockKey| {
            let grants = self.machine.keys.get(key).map(|entry| &entry.grants[..]);
            let holds_it = |id| grants.unwrap_or(&[]).iter().any(|h| h.session == id);
            by_waiting || by_opening || sessions.for_probe(holds_it).is_some()
        };
        self.keys.iter().copied().filter(askable).collect()
    }
}

/// Whether the machine knows of a claim at the server.
fn is_ours(machine: &Machine, links: &BTreeMap<SessionId, Link>, key: LockKey, pid: Pid) -> bool {
    let Some((id, _)) = links.iter().find(|(_, link)| link.pid == pid) else {
        return false;
    };
    machine.keys.get(&key).is_some_and(|entry| {
        entry.grants.iter().any(|h| h.session == *id)
            || matches!(entry.ask, Ask::Wait { session, .. } if session == *id)
            || matches!(entry.ask, Ask::Try { session, .. } if session == *id)
    })
}
