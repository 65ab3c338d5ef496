//! The holds of callers that are known by their task alone. Each grant makes such a record, so it
//! takes no mutex.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};

use crate::key::LockKey;
use crate::owner::Task;

/// A task finds its holds in one of this many lines.
const LINES: usize = 64;

const OF_LINE: usize = 8;

/// Instead of a task: no hold, and a hold whose key is being written.
const FREE: u64 = 0;
const BEGUN: u64 = u64::MAX;

pub(super) struct Slots(Box<[Line]>);

/// Its tasks share one cache line, which is all that a task reads to find its holds.
#[derive(Default)]
#[repr(align(64))]
struct Line {
    tasks: [AtomicU64; OF_LINE],
    holds: [Hold; OF_LINE],
}

#[derive(Default)]
struct Hold {
    /// The key, [packed](LockKey::pack).
    bits: AtomicI64,
    is_pair: AtomicBool,
    /// Whether it is part of a dependence that was reported.
    depends: AtomicBool,
}

impl Default for Slots {
    fn default() -> Self {
        Self((0..LINES).map(|_| Line::default()).collect())
    }
}

impl Slots {
    /// Returns the place of the record, or `None` if the line of the task is full.
    pub(super) fn hold(&self, key: LockKey, task: Task) -> Option<usize> {
        let number = line_of(task);
        let line = self.0.get(number)?;
        let (at, (owner, hold)) = line.slots().enumerate().find(|(_, (owner, _))| {
            owner.load(Relaxed) == FREE
                && owner.compare_exchange(FREE, BEGUN, Acquire, Relaxed).is_ok()
        })?;
        let (is_pair, bits) = key.pack();
        hold.bits.store(bits, Relaxed);
        hold.is_pair.store(is_pair, Relaxed);
        owner.store(task.number(), Release);
        Some(number * OF_LINE + at)
    }

    /// Returns whether it was part of a dependence that was reported.
    pub(super) fn let_go(&self, place: usize) -> bool {
        let Some((owner, hold)) = self.at(place) else {
            return false;
        };
        let depends = hold.depends.load(Relaxed);
        if depends {
            hold.depends.store(false, Relaxed);
        }
        owner.store(FREE, Release);
        depends
    }

    /// Whether the task, which asks itself, holds anything.
    pub(super) fn has(&self, task: Task) -> bool {
        let is_its = |owner: &AtomicU64| owner.load(Relaxed) == task.number();
        self.0.get(line_of(task)).is_some_and(|line| line.tasks.iter().any(is_its))
    }

    /// What tasks hold. If that changes meanwhile, it may be wrong; so it has to be the same in two
    /// looks, and the server has to list the lock.
    pub(super) fn all(&self) -> impl Iterator<Item = (usize, LockKey, Task)> {
        self.0.iter().flat_map(Line::slots).enumerate().filter_map(|(place, (owner, hold))| {
            let number = owner.load(Acquire);
            if number == FREE || number == BEGUN {
                return None;
            }
            let key = LockKey::unpack(hold.is_pair.load(Relaxed), hold.bits.load(Relaxed));
            Some((place, key, Task::from_number(number)))
        })
    }

    /// Notes that a dependence on this hold was reported. If the hold has just ended, the end of the
    /// next one counts as the end of a dependence, which only makes for one search more.
    pub(super) fn note(&self, place: usize) {
        if let Some((_, hold)) = self.at(place) {
            hold.depends.store(true, Relaxed);
        }
    }

    fn at(&self, place: usize) -> Option<(&AtomicU64, &Hold)> {
        let (line, at) = (self.0.get(place / OF_LINE)?, place % OF_LINE);
        Some((line.tasks.get(at)?, line.holds.get(at)?))
    }
}

impl Line {
    fn slots(&self) -> impl Iterator<Item = (&AtomicU64, &Hold)> {
        self.tasks.iter().zip(&self.holds)
    }
}

fn line_of(task: Task) -> usize {
    (task.number() >> 1) as usize % LINES
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
    fn line_has_few_slots() {
        let slots = Slots::default();
        let places: Vec<_> = (0..10).filter_map(|key| slots.hold(key.into(), TASK)).collect();
        assert_eq!(places.len(), OF_LINE);
        slots.let_go(places[3]);
        assert_eq!(slots.hold(1.into(), TASK), Some(places[3]));
    }
}
