//! What callers of this process hold while they wait, for the search for deadlocks.
//!
//! A *dependence* is a lock that a caller keeps while it waits for another one. This module records
//! who holds and who waits; [`graph`] finds the rings, and the client asks the server for the
//! dependences of other processes. `DESIGN.md` says when a dependence is certain.

mod dependences;
pub(crate) mod graph;
pub(crate) mod reading;
mod slots;

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use foldhash::HashMap;
use slab::Slab;
use tokio::sync::Notify;

pub(crate) use self::dependences::Dependences;
use self::slots::Slots;
use crate::key::LockKey;
use crate::looking::Deadlock;
use crate::owner::{Bond, Owner, Task};

/// How many ticks a caller must have seen to count as waiting for long.
const LONG: u8 = 2;

/// The holds of the callers of one manager, and the waits of those that hold something.
#[derive(Default)]
pub(crate) struct Waits {
    slots: Slots,
    table: Mutex<Table>,
    /// How many holds the table has.
    in_table: AtomicUsize,
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

/// Where a hold is on record. It is small, because each guard has one, and a guard that grows beyond
/// 128 bytes takes longer to move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Record(NonZeroU32);

#[derive(Clone, Copy)]
enum Place {
    Slot(usize),
    Table(usize),
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

impl Record {
    /// `None` if no memory could have that many places.
    fn at(place: Place) -> Option<Self> {
        let number = match place {
            Place::Slot(place) => place.checked_mul(2)?,
            Place::Table(place) => place.checked_mul(2)?.checked_add(1)?,
        };
        let number = u32::try_from(number).ok()?.checked_add(1)?;
        NonZeroU32::new(number).map(Self)
    }

    fn place(self) -> Place {
        let number = self.0.get() as usize - 1;
        match number % 2 {
            0 => Place::Slot(number / 2),
            _ => Place::Table(number / 2),
        }
    }
}

impl Waits {
    /// Records that the caller holds the key, if the caller is known. Returns the place of the
    /// record.
    pub(crate) fn hold(&self, key: LockKey, owner: Owner) -> Option<Record> {
        // To verify its owner would cost as much again: that is left to those that wait.
        if let Some(place) = owner.mere_task().and_then(|task| self.slots.hold(key, task)) {
            return Record::at(Place::Slot(place));
        }
        let owner = owner.verified()?;
        self.in_table.fetch_add(1, Ordering::Relaxed);
        let mut table = self.lock();
        owner.task.iter().for_each(|task| *table.tasks.entry(*task).or_default() += 1);
        owner.bond.iter().for_each(|bond| *table.bonds.entry(*bond).or_default() += 1);
        Record::at(Place::Table(table.holds.insert(Hold { key, owner, depends: false })))
    }

    pub(crate) fn let_go(&self, record: Record) {
        let depends = match record.place() {
            Place::Slot(place) => self.slots.let_go(place),
            Place::Table(place) => self.take_out(place),
        };
        if depends {
            self.changed.notify_one();
        }
    }

    /// Returns whether the hold was part of a dependence that was reported.
    fn take_out(&self, place: usize) -> bool {
        let mut table = self.lock();
        let Some(hold) = table.holds.try_remove(place) else {
            return false;
        };
        hold.owner.task.iter().for_each(|task| count_down(&mut table.tasks, task));
        hold.owner.bond.iter().for_each(|bond| count_down(&mut table.bonds, bond));
        self.in_table.fetch_sub(1, Ordering::Relaxed);
        hold.depends
    }

    fn holds_anything(&self, owner: Owner) -> bool {
        owner.task.is_some_and(|task| self.slots.has(task))
            || self.in_table.load(Ordering::Relaxed) > 0 && self.lock().holds_anything(owner)
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
        if !self.holds_anything(owner) {
            return None;
        }
        let owner = owner.verified()?;
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
        Some(table.dependences(&self.slots))
    }

    /// The dependences now.
    pub(crate) fn dependences(&self) -> Dependences {
        self.lock().dependences(&self.slots)
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
}

#[cfg(test)]
mod tests;
