//! What callers of this process hold while they wait, for the search for deadlocks.
//!
//! A *dependence* is a lock that a caller keeps while it waits for another one. This module records
//! who holds and who waits; [`graph`] finds the rings, and the client asks the server for the
//! dependences of other processes. `DESIGN.md` says when a dependence is certain.

pub(crate) mod graph;
pub(crate) mod reading;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use foldhash::{HashMap, HashMapExt};
use slab::Slab;
use tokio::sync::Notify;

use self::graph::Ends;
use crate::key::LockKey;
use crate::looking::Deadlock;
use crate::owner::{Bond, Owner, Task};

/// How many ticks a caller must have seen to count as waiting for long.
const LONG: u8 = 2;

/// The holds of the callers of one manager, and the waits of those that hold something.
#[derive(Default)]
pub(crate) struct Waits {
    table: Mutex<Table>,
    /// Notified when a dependence that was reported has ended.
    changed: Notify,
}

#[derive(Default)]
struct Table {
    holds: Slab<Hold>,
    /// How many locks each task, set and dedicated session holds.
    tasks: HashMap<Task, u32>,
    bonds: HashMap<Bond, u32>,
    waits: Slab<Wait>,
    last: u64,
    is_watched: bool,
    found: Vec<Arc<Deadlock>>,
    count: u64,
}

struct Hold {
    key: LockKey,
    owner: Owner,
    /// Whether it is part of a dependence that was reported.
    depends: bool,
}

struct Wait {
    /// No two waits have the same.
    number: u64,
    key: LockKey,
    owner: Owner,
    ticks: u8,
    depends: bool,
    /// If the wait fails that is part of a deadlock.
    waker: Option<Waker>,
    verdict: Option<Arc<Deadlock>>,
}

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

impl Waits {
    /// Records that the caller holds the key, if the caller is known. Returns the place of the
    /// record.
    pub(crate) fn hold(&self, key: LockKey, owner: Owner) -> Option<usize> {
        if owner.task.is_none() && owner.bond.is_none() {
            return None;
        }
        let mut table = self.lock();
        owner.task.iter().for_each(|task| *table.tasks.entry(*task).or_default() += 1);
        owner.bond.iter().for_each(|bond| *table.bonds.entry(*bond).or_default() += 1);
        Some(table.holds.insert(Hold { key, owner, depends: false }))
    }

    pub(crate) fn let_go(&self, place: usize) {
        let mut table = self.lock();
        let Some(hold) = table.holds.try_remove(place) else {
            return;
        };
        hold.owner.task.iter().for_each(|task| count_down(&mut table.tasks, task));
        hold.owner.bond.iter().for_each(|bond| count_down(&mut table.bonds, bond));
        drop(table);
        if hold.depends {
            self.changed.notify_one();
        }
    }

    /// Records that the caller waits for the key, if it holds something; otherwise, it is part of no
    /// deadlock. Returns the place of the record, and whether the caller has to start the watch.
    /// `waker`: if the wait fails that is part of a deadlock.
    pub(crate) fn wait(
        &self,
        key: LockKey,
        owner: Owner,
        waker: impl FnOnce() -> Option<Waker>,
    ) -> Option<(usize, bool)> {
        if !self.lock().holds_anything(owner) {
            return None;
        }
        // A waker is foreign code, so it is cloned while no mutex is held.
        let waker = waker();
        let mut table = self.lock();
        table.last += 1;
        let number = table.last;
        let wait = Wait { number, key, owner, ticks: 0, depends: false, waker, verdict: None };
        let place = table.waits.insert(wait);
        let starts = !table.is_watched;
        table.is_watched = true;
        Some((place, starts))
    }

    /// Returns the waker, which is foreign code, for the caller to drop.
    pub(crate) fn leave(&self, place: usize) -> Option<Waker> {
        let wait = self.lock().waits.try_remove(place)?;
        if wait.depends {
            self.changed.notify_one();
        }
        wait.waker
    }

    /// The deadlock because of which the wait fails, if it does. It wakes by this waker from now on.
    /// Also returns a waker that is not needed, for the caller to drop.
    pub(crate) fn verdict(
        &self,
        place: usize,
        waker: Waker,
    ) -> (Option<Arc<Deadlock>>, Option<Waker>) {
        match self.lock().waits.get_mut(place) {
            Some(wait) if wait.verdict.is_none() => (None, wait.waker.replace(waker)),
            Some(wait) => (wait.verdict.take(), Some(waker)),
            None => (None, Some(waker)),
        }
    }

    /// Keeps callers from starting a watch.
    #[cfg(all(test, pglock_loom))]
    pub(crate) fn claim_watch(&self) {
        self.lock().is_watched = true;
    }

    /// The watch could not be started, or has ended.
    pub(crate) fn unwatched(&self) {
        self.lock().end_watch();
    }

    /// Counts a tick of the watch. `None`: there is nothing to watch, and the watch ends.
    pub(crate) fn tick(&self) -> Option<Dependences> {
        let mut table = self.lock();
        if table.waits.is_empty() {
            table.end_watch();
            return None;
        }
        for (_, wait) in &mut table.waits {
            wait.ticks = wait.ticks.saturating_add(1);
        }
        Some(table.dependences())
    }

    /// The dependences now.
    pub(crate) fn dependences(&self) -> Dependences {
        self.lock().dependences()
    }

    /// Completes when a dependence has ended.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Lets these waits fail. Returns their wakers, which are foreign code, for the caller to wake.
    pub(crate) fn fail(&self, numbers: &[u64], deadlock: &Arc<Deadlock>) -> Vec<Waker> {
        let mut wakers = Vec::new();
        for (_, wait) in &mut self.lock().waits {
            if numbers.contains(&wait.number)
                && let Some(waker) = wait.waker.take()
            {
                wait.verdict = Some(deadlock.clone());
                wakers.push(waker);
            }
        }
        wakers
    }

    /// These are the deadlocks now; so many of them are new.
    pub(crate) fn found(&self, deadlocks: Vec<Arc<Deadlock>>, new: usize) {
        let mut table = self.lock();
        table.found = deadlocks;
        table.count += new as u64;
    }

    /// The deadlocks that were found last.
    pub(crate) fn deadlocks(&self) -> Vec<Arc<Deadlock>> {
        self.lock().found.clone()
    }

    /// How many were found since the manager was made.
    pub(crate) fn count(&self) -> u64 {
        self.lock().count
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets those that hold nothing.
fn count_down<K: Eq + Hash>(counts: &mut HashMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl Table {
    fn holds_anything(&self, owner: Owner) -> bool {
        owner.task.is_some_and(|task| self.tasks.contains_key(&task))
            || owner.bond.is_some_and(|bond| self.bonds.contains_key(&bond))
    }

    fn end_watch(&mut self) {
        self.is_watched = false;
        self.found.clear();
    }

    fn dependences(&mut self) -> Dependences {
        let mut of_task: HashMap<Task, Vec<usize>> = HashMap::new();
        let mut of_bond: HashMap<Bond, Vec<usize>> = HashMap::new();
        let waits_long = |wait: &Wait| wait.ticks >= LONG && wait.verdict.is_none();
        if self.waits.iter().any(|(_, wait)| waits_long(wait)) {
            for (place, hold) in &self.holds {
                if let Some(task) = hold.owner.task {
                    of_task.entry(task).or_default().push(place);
                }
                if let Some(bond) = hold.owner.bond {
                    of_bond.entry(bond).or_default().push(place);
                }
            }
        }
        let mut found = Dependences::default();
        for (_, wait) in &mut self.waits {
            found.awaited.insert(wait.key);
            if !waits_long(wait) {
                continue;
            }
            let by_task = wait.owner.task.and_then(|task| of_task.get(&task));
            let by_bond = wait.owner.bond.and_then(|bond| of_bond.get(&bond));
            for place in by_task.into_iter().chain(by_bond).flatten() {
                let Some(hold) = self.holds.get_mut(*place) else { continue };
                if hold.key != wait.key && hold.owner.keeps_during(&wait.owner) {
                    hold.depends = true;
                    wait.depends = true;
                    found.add(hold, wait);
                }
            }
        }
        found
    }
}

impl Dependences {
    fn add(&mut self, hold: &Hold, wait: &Wait) {
        let is_certain = hold.owner.is_bound_to(&wait.owner);
        let gives_up = wait.waker.is_some();
        let new = || Dependence { is_certain, gives_up, waits: Vec::new() };
        let dependence = self.all.entry((hold.key, wait.key)).or_insert_with(new);
        dependence.is_certain |= is_certain;
        dependence.gives_up &= gives_up;
        if !dependence.waits.contains(&wait.number) {
            dependence.waits.push(wait.number);
        }
    }
}

#[cfg(test)]
mod tests;
