//! Guards that become ones for reading, or for writing.

use std::collections::BTreeSet;

use super::reference::{Guard, Reference};
use super::transitions::choose;
use super::world::World;
use crate::engine::machine::event::{CallerId, Event, GrantId, Patience};
use crate::key::LockKey;
use crate::mode::Mode;

/// What a guard for reading waits for.
#[derive(Clone, Debug)]
pub(crate) struct Upgrade {
    pub(crate) id: CallerId,
    pub(crate) patience: Patience,
    /// Another caller had the lock at some time.
    pub(crate) contended: bool,
}

/// An upgrade that has its answer.
#[derive(Debug)]
pub(super) struct Answered {
    key: LockKey,
    upgrade: Upgrade,
    /// Whether the guard has lost its lock.
    pub(super) is_lost: bool,
}

impl World {
    pub(super) fn downgrade_one(&mut self, nth: usize) {
        if let Some((key, guard)) = choose(self.reference.free_guards(Some(Mode::Write)), nth) {
            self.downgrade(key, guard.grant);
        }
    }

    pub(super) fn end_hand_overs_of_one(&mut self, nth: usize) {
        if let Some((key, guard)) = choose(self.reference.free_guards(Some(Mode::Write)), nth) {
            self.end_hand_overs(key, guard.grant);
        }
    }

    pub(super) fn upgrade_one(&mut self, nth: usize, patience: Patience) {
        if let Some((key, guard)) = choose(self.reference.free_guards(Some(Mode::Read)), nth)
            && (patience == Patience::Try || self.reference.may_wait_to_upgrade(key))
        {
            self.upgrade(key, guard.grant, patience);
        }
    }

    pub(crate) fn downgrade(&mut self, key: LockKey, grant: GrantId) {
        self.tick();
        self.note_downgrade(grant);
        self.reference.downgrade(key, grant);
        self.step(Event::Downgrade { key, grant });
    }

    pub(crate) fn end_hand_overs(&mut self, key: LockKey, grant: GrantId) {
        self.reference.end_hand_overs(key, grant);
        self.step(Event::EndHandOvers { key, grant });
    }

    pub(crate) fn upgrade(&mut self, key: LockKey, grant: GrantId, patience: Patience) -> CallerId {
        self.tick();
        let caller = self.new_caller();
        self.reference.upgrade(caller, key, grant, patience);
        self.note_contention();
        self.step(Event::Upgrade { caller, key, grant, patience });
        caller
    }
}

impl Reference {
    /// Guards whose owners are free to do something with them.
    pub(crate) fn free_guards(&self, mode: Option<Mode>) -> Vec<(LockKey, Guard)> {
        let mut guards = self.guards();
        guards.retain(|(_, guard)| {
            guard.upgrade.is_none() && mode.is_none_or(|mode| guard.mode == mode)
        });
        guards
    }

    /// One caller at a time waits for the others: that is what the right to upgrade is for.
    pub(crate) fn may_wait_to_upgrade(&self, key: LockKey) -> bool {
        let mut upgrades = self.upgrades();
        upgrades.all(|(waiting, upgrade)| waiting != key || upgrade.patience == Patience::Try)
    }

    pub(crate) fn upgrades(&self) -> impl Iterator<Item = (LockKey, &Upgrade)> {
        let guards = self.keys.iter().flat_map(|(key, k)| k.guards.iter().map(|g| (*key, g)));
        guards.filter_map(|(key, guard)| Some((key, guard.upgrade.as_ref()?)))
    }

    fn downgrade(&mut self, key: LockKey, grant: GrantId) {
        let guards = &mut self.keys.entry(key).or_default().guards;
        for guard in guards.iter_mut().filter(|guard| guard.grant == grant) {
            guard.mode = Mode::Read;
        }
    }

    fn upgrade(&mut self, id: CallerId, key: LockKey, grant: GrantId, patience: Patience) {
        let guards = &mut self.keys.entry(key).or_default().guards;
        let mut free = guards.iter_mut().filter(|g| g.grant == grant && g.upgrade.is_none());
        let guard = free.next().expect("a guard is upgraded by its owner");
        guard.upgrade = Some(Upgrade { id, patience, contended: false });
    }

    pub(super) fn upgraded(&mut self, id: CallerId) {
        let answered = self.take_upgrade(id).expect("only who asked is a writer");
        assert!(!answered.is_lost, "{answered:?} is done though the lock is lost");
        let guards = &mut self.keys.entry(answered.key).or_default().guards;
        let [guard] = &mut guards.iter_mut().filter(|g| !g.lost).collect::<Vec<_>>()[..] else {
            panic!("{answered:?} is done beside others: {guards:?}");
        };
        guard.mode = Mode::Write;
    }

    pub(super) fn take_upgrade(&mut self, id: CallerId) -> Option<Answered> {
        self.keys.iter_mut().find_map(|(key, model)| {
            model.guards.iter_mut().find_map(|guard| {
                let upgrade = guard.upgrade.take_if(|upgrade| upgrade.id == id)?;
                Some(Answered { key: *key, upgrade, is_lost: guard.lost })
            })
        })
    }
}

impl Answered {
    pub(super) fn busy(&self, refused: &BTreeSet<LockKey>) {
        assert_eq!(self.upgrade.patience, Patience::Try, "a caller that waits is never refused");
        let is_excused = self.upgrade.contended || refused.contains(&self.key);
        assert!(is_excused, "{self:?} was refused with no caller in its way");
    }
}
