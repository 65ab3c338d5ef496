//! The dependences of callers that have waited for long, from what is on record.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::HashMap;

use super::graph::Ends;
use super::slots::Slots;
use super::{LONG, Place, Table, Wait};
use crate::key::LockKey;
use crate::owner::{Bond, Owner, Task};

/// Callers of this process that keep one lock while they wait for another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Dependence {
    pub(crate) is_certain: bool,
    /// Whether all of them give up if this is part of a deadlock.
    pub(crate) gives_up: bool,
    /// The numbers of their waits.
    pub(crate) waits: Vec<u64>,
}

/// The dependences of callers that have waited for long.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Dependences {
    pub(crate) all: BTreeMap<Ends, Dependence>,
    /// The keys that callers wait for who hold something.
    pub(crate) awaited: BTreeSet<LockKey>,
}

/// All holds, by whom they may belong to.
#[derive(Default)]
struct Index {
    holds: Vec<(Place, LockKey, Owner)>,
    of_task: HashMap<Task, Vec<usize>>,
    of_bond: HashMap<Bond, Vec<usize>>,
}

impl Index {
    fn add(&mut self, place: Place, key: LockKey, owner: Owner) {
        let number = self.holds.len();
        self.holds.push((place, key, owner));
        if let Some(task) = owner.task {
            self.of_task.entry(task).or_default().push(number);
        }
        if let Some(bond) = owner.bond {
            self.of_bond.entry(bond).or_default().push(number);
        }
    }

    /// What stays held while the owner waits for this key.
    fn kept_during(
        &self,
        key: LockKey,
        owner: Owner,
    ) -> impl Iterator<Item = (Place, LockKey, Owner)> {
        let by_task = owner.task.and_then(|task| self.of_task.get(&task));
        let by_bond = owner.bond.and_then(|bond| self.of_bond.get(&bond));
        let all = by_task.into_iter().chain(by_bond).flatten();
        all.filter_map(|number| self.holds.get(*number).copied())
            .filter(move |(_, held, holder)| *held != key && holder.keeps_during(&owner))
    }
}

impl Table {
    pub(super) fn dependences(&mut self, slots: &Slots) -> Dependences {
        let waits_long = |wait: &Wait| wait.ticks >= LONG && wait.verdict.is_none();
        let mut index = Index::default();
        if self.waits.iter().any(|(_, wait)| waits_long(wait)) {
            for (place, hold) in &self.holds {
                index.add(Place::Table(place), hold.key, hold.owner);
            }
            for (place, key, task) in slots.all() {
                index.add(Place::Slot(place), key, Owner::of_task(task));
            }
        }
        let mut found = Dependences::default();
        for (_, wait) in &mut self.waits {
            found.awaited.insert(wait.key);
            if !waits_long(wait) {
                continue;
            }
            for (place, key, owner) in index.kept_during(wait.key, wait.owner) {
                match place {
                    Place::Slot(place) => slots.note(place),
                    Place::Table(place) => {
                        self.holds.get_mut(place).into_iter().for_each(|hold| hold.depends = true);
                    }
                }
                wait.depends = true;
                found.add(key, owner, wait);
            }
        }
        found
    }
}

impl Dependences {
    fn add(&mut self, held: LockKey, holder: Owner, wait: &Wait) {
        let is_certain = holder.is_bound_to(&wait.owner);
        let gives_up = wait.waker.is_some();
        let new = || Dependence { is_certain, gives_up, waits: Vec::new() };
        let dependence = self.all.entry((held, wait.key)).or_insert_with(new);
        dependence.is_certain |= is_certain;
        dependence.gives_up &= gives_up;
        if !dependence.waits.contains(&wait.number) {
            dependence.waits.push(wait.number);
        }
    }
}
