//! What callers may expect: for each key, a queue of waiters and the holders, and how often a lock
//! may pass on.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::upgrades::Upgrade;
use crate::engine::machine::config::Config;
use crate::engine::machine::event::{CallerId, GrantId, Moment, Patience, SessionId};
use crate::key::LockKey;
use crate::mode::Mode;

#[derive(Debug, Default)]
pub(crate) struct Reference {
    pub(crate) keys: BTreeMap<LockKey, Key>,
    /// A caller that waits for the server to confirm a release.
    pub(crate) confirms: Vec<Confirm>,
    /// A caller that inspects.
    looking: Vec<CallerId>,
    pub(crate) closed: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Key {
    pub(crate) waiting: VecDeque<Caller>,
    pub(crate) guards: Vec<Guard>,
    passed: HashMap<GrantId, Passed>,
}

#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) id: CallerId,
    pub(crate) mode: Mode,
    pub(crate) patience: Patience,
    /// Whether a conflicting lock was in its way at some time.
    pub(crate) contended: bool,
}

#[derive(Debug)]
pub(crate) struct Confirm {
    id: CallerId,
    key: LockKey,
    /// Whether the guard had lost its lock before, noticed or not.
    lost: bool,
    known: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Guard {
    pub(crate) grant: GrantId,
    pub(crate) session: SessionId,
    pub(crate) mode: Mode,
    pub(crate) lost: bool,
    pub(crate) upgrade: Option<Upgrade>,
}

/// How often, and since when, a granted lock has passed from caller to caller.
#[derive(Clone, Copy, Debug)]
struct Passed {
    times: u32,
    since: Moment,
    /// It is not to pass on to another writer.
    ends: bool,
}

impl Reference {
    pub(crate) fn acquire(&mut self, id: CallerId, key: LockKey, mode: Mode, patience: Patience) {
        let waiting = &mut self.keys.entry(key).or_default().waiting;
        let contended = waiting.iter().any(|c| c.patience == Patience::Wait);
        waiting.push_back(Caller { id, mode, patience, contended });
    }

    pub(crate) fn look(&mut self, id: CallerId) {
        self.looking.push(id);
    }

    pub(crate) fn looks(&self, id: CallerId) -> bool {
        self.looking.contains(&id)
    }

    /// The key that a caller waits for.
    pub(crate) fn wanted(&self, id: CallerId) -> Option<LockKey> {
        let waits = |key: &Key| key.waiting.iter().any(|caller| caller.id == id);
        self.keys.iter().find(|(_, model)| waits(model)).map(|(key, _)| *key)
    }

    /// Every caller that is not resolved yet.
    pub(crate) fn unresolved(&self) -> Vec<(CallerId, LockKey)> {
        let callers = self.keys.iter().flat_map(|(key, k)| k.waiting.iter().map(|c| (c.id, *key)));
        let confirms = self.confirms.iter().map(|c| (c.id, c.key));
        // These have no key; any will do.
        let looking = self.looking.iter().map(|id| (*id, LockKey::from(0)));
        let upgrades = self.upgrades().map(|(key, upgrade)| (upgrade.id, key));
        callers.chain(confirms).chain(looking).chain(upgrades).collect()
    }

    pub(crate) fn forget(&mut self, id: CallerId) {
        for key in self.keys.values_mut() {
            key.waiting.retain(|caller| caller.id != id);
        }
        self.looking.retain(|looking| *looking != id);
        self.take_upgrade(id);
        self.take_confirm(id);
    }

    pub(crate) fn guards(&self) -> Vec<(LockKey, Guard)> {
        let guards =
            self.keys.iter().flat_map(|(key, k)| k.guards.iter().map(|g| (*key, g.clone())));
        guards.collect()
    }

    pub(crate) fn release(
        &mut self,
        key: LockKey,
        grant: GrantId,
        confirm: Option<CallerId>,
        has_ended: impl Fn(SessionId) -> bool,
    ) {
        let guards = &mut self.keys.entry(key).or_default().guards;
        let is_meant = |guard: &Guard| guard.grant == grant && guard.upgrade.is_none();
        let at = guards.iter().position(is_meant);
        let guard = guards.remove(at.expect("a guard is released once"));
        let known = guard.lost;
        let lost = known || has_ended(guard.session);
        self.confirms.extend(confirm.map(|id| Confirm { id, key, lost, known }));
    }

    pub(crate) fn granted(
        &mut self,
        id: CallerId,
        grant: GrantId,
        session: SessionId,
        now: Moment,
        config: &Config,
        nobody_to_ask: &BTreeSet<LockKey>,
    ) {
        assert!(!self.closed, "nothing is granted after the close");
        let (key, model, at) = self.find(id).expect("only who asked is granted");
        let caller = model.waiting.remove(at).expect("it was found there");
        let overtaken = model.waiting.range(..at).find(|earlier| {
            earlier.patience == Patience::Wait || !earlier.mode.is_compatible_with(caller.mode)
        });
        assert!(overtaken.is_none(), "{caller:?} has overtaken {overtaken:?}");
        let in_the_way = model
            .guards
            .iter()
            .find(|guard| !guard.lost && !guard.mode.is_compatible_with(caller.mode));
        assert!(in_the_way.is_none(), "{caller:?} was granted beside {in_the_way:?}");
        let nobody_to_ask = nobody_to_ask.contains(&key);
        model.pass(grant, caller.mode, now, config, nobody_to_ask);
        let upgrades = model.guards.iter().any(|guard| guard.upgrade.is_some());
        assert!(!upgrades, "{caller:?} has overtaken an upgrade");
        let mode = caller.mode;
        model.guards.push(Guard { grant, session, mode, lost: false, upgrade: None });
    }

    /// The server has granted this, now or earlier.
    pub(crate) fn held(&mut self, key: LockKey, grant: GrantId, now: Moment) {
        let passed = &mut self.keys.entry(key).or_default().passed;
        passed.entry(grant).or_insert(Passed::never(now));
    }

    /// Whether the lock may pass on within this process.
    pub(crate) fn may_pass(
        &self,
        key: LockKey,
        grant: GrantId,
        now: Moment,
        config: &Config,
    ) -> bool {
        let passed = self.keys.get(&key).and_then(|model| model.passed.get(&grant));
        passed.is_some_and(|passed| !passed.ends && passed.is_fresh(now, config))
    }

    /// A probe has found that no writer waits.
    pub(crate) fn probed(&mut self, key: LockKey, now: Moment) {
        if let Some(model) = self.keys.get_mut(&key) {
            model.renew(now);
        }
    }

    pub(crate) fn busy(&mut self, id: CallerId, refused: &BTreeSet<LockKey>) {
        if let Some(upgrade) = self.take_upgrade(id) {
            return upgrade.busy(refused);
        }
        let (key, model, at) = self.find(id).expect("only a caller that asked is refused");
        let caller = model.waiting.remove(at).expect("it was found there");
        assert_eq!(caller.patience, Patience::Try, "a caller that waits is never refused");
        let is_held = model.guards.iter().any(|guard| !guard.mode.is_compatible_with(caller.mode));
        // A lock that the server refuses to release is not free.
        let is_stuck = refused.contains(&key);
        assert!(
            caller.contended || is_held || is_stuck,
            "{caller:?} was refused without an obstacle"
        );
    }

    pub(crate) fn skipped(&mut self, id: CallerId) {
        let (_, model, at) = self.find(id).expect("only who asked is left out");
        let caller = model.waiting.remove(at).expect("it was found there");
        assert_eq!(caller.patience, Patience::Try, "who waits is never left out");
    }

    /// Returns true if the failure was to be expected even without a fault.
    pub(crate) fn failed(&mut self, id: CallerId) -> bool {
        if let Some(confirm) = self.take_confirm(id) {
            return confirm.known;
        }
        if self.looks(id) {
            self.forget(id);
            return self.closed;
        }
        if let Some(upgrade) = self.take_upgrade(id) {
            return upgrade.is_lost;
        }
        let (_, model, at) = self.find(id).expect("only a caller that asked can fail");
        model.waiting.remove(at);
        false
    }

    pub(crate) fn released(&mut self, id: CallerId) {
        let confirm = self.take_confirm(id).expect("a release is confirmed once");
        assert!(!confirm.lost, "{confirm:?} is confirmed");
    }

    /// The number of locks of this session that guards count as held.
    pub(crate) fn guarded_by(&self, session: SessionId) -> usize {
        let guards = self.keys.values().flat_map(|key| &key.guards);
        let grants = guards.filter(|guard| guard.session == session && !guard.lost);
        grants.map(|guard| guard.grant.0).collect::<BTreeSet<_>>().len()
    }

    pub(crate) fn lost(&mut self, session: SessionId) {
        let guards = self.keys.values_mut().flat_map(|key| &mut key.guards);
        for guard in guards.filter(|guard| guard.session == session) {
            guard.lost = true;
        }
    }

    /// The lock passes on no more, unless to readers that may join after a probe.
    pub(crate) fn end_hand_overs(&mut self, key: LockKey, grant: GrantId) {
        let passed = &mut self.keys.entry(key).or_default().passed;
        if let Some(passed) = passed.get_mut(&grant) {
            passed.ends = true;
        }
    }

    fn take_confirm(&mut self, id: CallerId) -> Option<Confirm> {
        let at = self.confirms.iter().position(|confirm| confirm.id == id)?;
        Some(self.confirms.swap_remove(at))
    }

    fn find(&mut self, id: CallerId) -> Option<(LockKey, &mut Key, usize)> {
        self.keys.iter_mut().find_map(|(key, model)| {
            let at = model.waiting.iter().position(|caller| caller.id == id)?;
            Some((*key, model, at))
        })
    }
}

impl Passed {
    fn never(since: Moment) -> Self {
        Self { times: 0, since, ends: false }
    }

    fn is_fresh(self, now: Moment, config: &Config) -> bool {
        let is_young = now < self.since + config.hand_over_age;
        self.times == 0 || !self.ends && self.times <= config.hand_over_count && is_young
    }
}

impl Key {
    /// Records the pass, which must be within the limits.
    fn pass(
        &mut self,
        grant: GrantId,
        mode: Mode,
        now: Moment,
        config: &Config,
        nobody_to_ask: bool,
    ) {
        let first = Passed::never(now);
        let passed = self.passed.entry(grant).or_insert(first);
        if !passed.is_fresh(now, config) {
            let may_join = mode == Mode::Read && nobody_to_ask;
            assert!(may_join, "{grant:?} passes on beyond its bound: {passed:?} at {now:?}");
            self.renew(now);
        }
        self.passed.entry(grant).or_insert(first).times += 1;
    }

    /// From now on, the readers count as if they had just been granted the lock.
    fn renew(&mut self, now: Moment) {
        for passed in self.passed.values_mut() {
            *passed = Passed { ends: passed.ends, ..Passed::never(now) };
        }
    }
}
