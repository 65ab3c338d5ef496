//! The holds of callers that are known by their task alone. Each grant makes such a record, so it
//! takes no mutex.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};

use crate::key::LockKey;
use crate::owner::Task;

/// A power of two.
const SLOTS: usize = 512;

/// A task finds its holds in this many slots.
const OF_TASK: usize = 8;

/// Instead of a task: no hold, and a hold whose key is being written.
const FREE: u64 = 0;
const BEGUN: u64 = u64::MAX;

pub(super) struct Slots(Box<[Slot]>);

#[derive(Default)]
struct Slot {
    task: AtomicU64,
    /// The key, [packed](LockKey::pack).
    bits: AtomicI64,
    is_pair: AtomicBool,
    /// Whether it is part of a dependence that was reported.
    depends: AtomicBool,
}

impl Default for Slots {
    fn default() -> Self {
        Self((0..SLOTS).map(|_| Slot::default()).collect())
    }
}

impl Slots {
    /// Returns the place of the record, or `None` if the slots of the task are full.
    pub(super) fn hold(&self, key: LockKey, task: Task) -> Option<usize> {
        let (place, slot) = self.of_task(task).find(|(_, slot)| {
            slot.task.load(Relaxed) == FREE
                && slot.task.compare_exchange(FREE, BEGUN, Acquire, Relaxed).is_ok()
        })?;
        let (is_pair, bits) = key.pack();
        slot.bits.store(bits, Relaxed);
        slot.is_pair.store(is_pair, Relaxed);
        slot.task.store(task.number(), Release);
        Some(place)
    }

    /// Returns whether it was part of a dependence that was reported.
    pub(super) fn let_go(&self, place: usize) -> bool {
        let Some(slot) = self.0.get(place) else {
            return false;
        };
        let depends = slot.depends.load(Relaxed);
        if depends {
            slot.depends.store(false, Relaxed);
        }
        slot.task.store(FREE, Release);
        depends
    }

    /// Whether the task, which asks itself, holds anything.
    pub(super) fn has(&self, task: Task) -> bool {
        self.of_task(task).any(|(_, slot)| slot.task.load(Relaxed) == task.number())
    }

    /// What tasks hold. If that changes meanwhile, it may be wrong; so it has to be the same in two
    /// looks, and the server has to list the lock.
    pub(super) fn all(&self) -> impl Iterator<Item = (usize, LockKey, Task)> {
        self.0.iter().enumerate().filter_map(|(place, slot)| {
            let number = slot.task.load(Acquire);
            if number == FREE || number == BEGUN {
                return None;
            }
            let key = LockKey::unpack(slot.is_pair.load(Relaxed), slot.bits.load(Relaxed));
            Some((place, key, Task::from_number(number)))
        })
    }

    /// Notes that a dependence on this hold was reported. If the hold has just ended, the end of the
    /// next one counts as the end of a dependence, which only makes for one search more.
    pub(super) fn note(&self, place: usize) {
        if let Some(slot) = self.0.get(place) {
            slot.depends.store(true, Relaxed);
        }
    }

    fn of_task(&self, task: Task) -> impl Iterator<Item = (usize, &Slot)> {
        let first = (task.number() >> 1) as usize % SLOTS;
        let places = (first..).take(OF_TASK).map(|place| place % SLOTS);
        places.filter_map(|place| Some((place, self.0.get(place)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: Task = Task::from_number(7);

    #[test]
    fn holds_are_there_until_they_end() {
        let slots = Slots::default();
        let keys: [LockKey; 2] = [1.into(), (-5, 7).into()];
        let places = keys.map(|key| slots.hold(key, TASK).unwrap());
        let all: Vec<_> = slots.all().collect();
        assert_eq!(all, [(places[0], keys[0], TASK), (places[1], keys[1], TASK)]);
        assert!(slots.has(TASK) && !slots.has(Task::from_number(9)));
        slots.note(places[0]);
        assert_eq!(places.map(|place| slots.let_go(place)), [true, false]);
        assert!(!slots.has(TASK) && slots.all().next().is_none());
        assert!(!slots.let_go(slots.hold(keys[0], TASK).unwrap()), "it was noted before");
    }

    #[test]
    fn task_has_few_slots() {
        let slots = Slots::default();
        let places: Vec<_> = (0..10).filter_map(|key| slots.hold(key.into(), TASK)).collect();
        assert_eq!(places.len(), OF_TASK);
        slots.let_go(places[3]);
        assert_eq!(slots.hold(1.into(), TASK), Some(places[3]));
    }
}
