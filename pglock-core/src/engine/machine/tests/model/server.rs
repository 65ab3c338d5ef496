//! A lock table with PostgreSQL's rules.

use std::collections::{BTreeMap, VecDeque};

use crate::driver::{Holding, lock_entry};
use crate::key::LockKey;
use crate::looking::LockEntry;
use crate::mode::Mode;

/// A server session.
pub(crate) type Pid = i32;

#[derive(Debug, Default)]
pub(crate) struct Server {
    locks: BTreeMap<LockKey, Lock>,
}

#[derive(Debug, Default)]
struct Lock {
    held: BTreeMap<(Pid, Mode), u32>,
    queue: VecDeque<(Pid, Mode)>,
}

impl Server {
    pub(crate) fn try_lock(&mut self, pid: Pid, key: LockKey, mode: Mode) -> bool {
        let lock = self.locks.entry(key).or_default();
        let free = lock.held.contains_key(&(pid, mode))
            || !(lock.is_held_against(pid, mode) || conflicts(lock.queue.iter(), pid, mode));
        if free {
            *lock.held.entry((pid, mode)).or_default() += 1;
        }
        free
    }

    /// True if it was granted; otherwise the session is in the queue.
    pub(crate) fn lock(&mut self, pid: Pid, key: LockKey, mode: Mode) -> bool {
        let granted = self.try_lock(pid, key, mode);
        if !granted {
            self.locks.entry(key).or_default().queue.push_back((pid, mode));
        }
        granted
    }

    pub(crate) fn unlock(&mut self, pid: Pid, key: LockKey, mode: Mode) -> bool {
        let lock = self.locks.entry(key).or_default();
        let Some(count) = lock.held.get_mut(&(pid, mode)) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            lock.held.remove(&(pid, mode));
            lock.wake();
        }
        true
    }

    pub(crate) fn downgrade(&mut self, pid: Pid, key: LockKey) -> bool {
        self.half_downgrade(pid, key) && self.unlock(pid, key, Mode::Write)
    }

    /// Both are held then.
    pub(crate) fn half_downgrade(&mut self, pid: Pid, key: LockKey) -> bool {
        let lock = self.locks.entry(key).or_default();
        let is_held = lock.held.contains_key(&(pid, Mode::Write));
        if is_held {
            *lock.held.entry((pid, Mode::Read)).or_default() += 1;
        }
        is_held
    }

    pub(crate) fn unlock_all(&mut self, pid: Pid) {
        for lock in self.locks.values_mut() {
            lock.held.retain(|(holder, _), _| *holder != pid);
            lock.wake();
        }
    }

    pub(crate) fn leave_queue(&mut self, pid: Pid) {
        for lock in self.locks.values_mut() {
            lock.queue.retain(|(waiter, _)| *waiter != pid);
            lock.wake();
        }
    }

    /// The session has ended.
    pub(crate) fn end(&mut self, pid: Pid) {
        self.leave_queue(pid);
        self.unlock_all(pid);
    }

    pub(crate) fn is_waiting(&self, pid: Pid) -> bool {
        self.awaits(pid).is_some()
    }

    /// What the session is in the queue of.
    pub(crate) fn awaits(&self, pid: Pid) -> Option<LockKey> {
        let queues = |lock: &Lock| lock.queue.iter().any(|(waiter, _)| *waiter == pid);
        self.locks.iter().find(|(_, lock)| queues(lock)).map(|(key, _)| *key)
    }

    pub(crate) fn count(&self, pid: Pid, key: LockKey, mode: Mode) -> u32 {
        let lock = self.locks.get(&key);
        lock.and_then(|lock| lock.held.get(&(pid, mode)).copied()).unwrap_or(0)
    }

    pub(crate) fn holdings(&self, pid: Pid) -> Vec<Holding> {
        let held = self.held().filter(|(holder, ..)| *holder == pid);
        held.map(|(_, holding, _)| holding).collect()
    }

    /// Everything that is held, and how often.
    pub(crate) fn held(&self) -> impl Iterator<Item = (Pid, Holding, u32)> {
        self.locks.iter().flat_map(|(key, lock)| {
            lock.held.iter().map(|((pid, mode), count)| {
                let holding = Holding { key: *key, mode: *mode };
                (*pid, holding, *count)
            })
        })
    }

    /// Everything, as it is seen by those who look.
    pub(crate) fn rows(&self) -> Vec<LockEntry> {
        let keys = self.locks.iter();
        keys.flat_map(|(key, lock)| {
            let row = |mode: &Mode, pid: &Pid, granted| {
                lock_entry(Holding { key: *key, mode: *mode }, granted, *pid)
            };
            let held = lock.held.keys().map(move |(pid, mode)| row(mode, pid, true));
            held.chain(lock.queue.iter().map(move |(pid, mode)| row(mode, pid, false)))
        })
        .collect()
    }

    /// Who holds the key or waits for it.
    pub(crate) fn claims(&self, key: LockKey) -> Vec<(Pid, Mode)> {
        let lock = self.locks.get(&key).into_iter();
        lock.flat_map(|lock| lock.held.keys().chain(&lock.queue).copied()).collect()
    }
}

impl Lock {
    fn is_held_against(&self, pid: Pid, mode: Mode) -> bool {
        conflicts(self.held.keys(), pid, mode)
    }

    /// Grants to waiters in their order; nobody overtakes one that has to go on waiting.
    fn wake(&mut self) {
        let mut passed = VecDeque::new();
        for (pid, mode) in std::mem::take(&mut self.queue) {
            if self.is_held_against(pid, mode) || conflicts(passed.iter(), pid, mode) {
                passed.push_back((pid, mode));
            } else {
                *self.held.entry((pid, mode)).or_default() += 1;
            }
        }
        self.queue = passed;
    }
}

fn conflicts<'a>(mut others: impl Iterator<Item = &'a (Pid, Mode)>, pid: Pid, mode: Mode) -> bool {
    others.any(|(other, theirs)| *other != pid && !mode.is_compatible_with(*theirs))
}
