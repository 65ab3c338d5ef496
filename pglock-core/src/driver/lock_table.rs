//! PostgreSQL's rules for advisory locks, as a table in memory.

mod deadlock;
mod holders;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use self::holders::Holders;
use super::{Holding, lock_entry};
use crate::key::LockKey;
use crate::looking::LockEntry;
use crate::mode::Mode;

/// Keeps locks by PostgreSQL's rules for advisory locks, for a backend that is not PostgreSQL.
///
/// Each lock has a queue, first come, first served: no session overtakes a waiting writer. A session
/// may take a lock that it holds again, and then must release it as often. Sessions are
/// numbered by the backend; each waits for one lock at a time. After each new wait, the backend asks
/// whether it is [deadlocked](Self::is_deadlocked).
///
/// The methods that free a lock return the sessions that leave its queue with the lock.
///
/// # Examples
///
/// ```
/// use pglock_core::driver::{Holding, LockTable};
/// use pglock_core::{LockKey, Mode};
///
/// let mut table = LockTable::new();
/// let key = LockKey::from("reports/daily");
///
/// assert!(table.try_lock(1, key, Mode::Read));
/// assert!(!table.lock(2, key, Mode::Write)); // waits
/// assert!(!table.try_lock(3, key, Mode::Read)); // does not overtake it
/// assert_eq!(table.entries(Some(key)).len(), 2);
///
/// assert_eq!(table.unlock(1, key, Mode::Read), Some(vec![2]));
/// assert_eq!(table.holdings(2).count(), 1);
/// assert_eq!(table.count(2, Holding { key, mode: Mode::Write }), 1);
///
/// assert!(!table.lock(3, key, Mode::Read));
/// assert_eq!(table.awaited_by(3), Some(key));
/// assert_eq!(table.downgrade(2, key), Some(vec![3]));
/// assert!(!table.lock(1, key, Mode::Write));
/// assert!(!table.is_deadlocked(1));
/// assert!(!table.upgrade(2, key)); // session 3 holds the read lock, too
/// assert_eq!(table.leave_queue(1), []);
///
/// assert_eq!(table.unlock_all(2), []);
/// assert!(table.upgrade(3, key));
/// assert_eq!(table.end(3), []);
/// ```
#[derive(Debug, Default)]
pub struct LockTable {
    /// The keys of held locks.
    locks: BTreeMap<LockKey, Lock>,
    /// An index, so that the end of a session need not visit all locks.
    held_by: HashMap<i32, BTreeSet<LockKey>>,
    awaited_by: HashMap<i32, LockKey>,
}

#[derive(Debug, Default)]
struct Lock {
    holders: Holders,
    queue: VecDeque<(i32, Mode)>,
}

impl LockTable {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the lock, unless another session holds it or waits ahead of this one in a conflicting
    /// mode. Returns whether it was taken.
    pub fn try_lock(&mut self, pid: i32, key: LockKey, mode: Mode) -> bool {
        let lock = self.locks.entry(key).or_default();
        let free = lock.is_free_for(pid, mode);
        if free {
            lock.holders.add(pid, mode);
            self.held_by.entry(pid).or_default().insert(key);
        }
        free
    }

    /// Takes the lock, or joins its queue. Returns whether it was taken.
    pub fn lock(&mut self, pid: i32, key: LockKey, mode: Mode) -> bool {
        let granted = self.try_lock(pid, key, mode);
        if !granted {
            let lock = self.locks.entry(key).or_default();
            lock.queue.insert(lock.place_of(pid), (pid, mode));
            self.awaited_by.insert(pid, key);
        }
        granted
    }

    /// Releases the lock once. Returns `None` if the session does not hold it in this mode.
    pub fn unlock(&mut self, pid: i32, key: LockKey, mode: Mode) -> Option<Vec<i32>> {
        let holders = &mut self.locks.get_mut(&key)?.holders;
        holders.take(pid, mode)?;
        if !holders.has(pid, Mode::Read)
            && !holders.has(pid, Mode::Write)
            && let Some(held) = self.held_by.get_mut(&pid)
        {
            held.remove(&key);
        }
        Some(self.wake(key))
    }

    /// Turns a write lock into a read lock. Returns `None` if the session does not hold the write
    /// lock.
    pub fn downgrade(&mut self, pid: i32, key: LockKey) -> Option<Vec<i32>> {
        let holders = &mut self.locks.get_mut(&key)?.holders;
        if !holders.has(pid, Mode::Write) {
            return None;
        }
        holders.add(pid, Mode::Read);
        self.unlock(pid, key, Mode::Write)
    }

    /// Turns a read lock into a write lock, ahead of those that wait, if no other session holds the
    /// lock. Returns whether it did.
    pub fn upgrade(&mut self, pid: i32, key: LockKey) -> bool {
        let Some(Lock { holders, .. }) = self.locks.get_mut(&key) else {
            return false;
        };
        let can_write =
            holders.has(pid, Mode::Read) && holders.are_compatible_with(pid, Mode::Write);
        if can_write {
            holders.add(pid, Mode::Write);
            holders.take(pid, Mode::Read);
        }
        can_write
    }

    /// Releases everything that the session holds.
    pub fn unlock_all(&mut self, pid: i32) -> Vec<i32> {
        let mut granted = Vec::new();
        for key in self.held_by.remove(&pid).unwrap_or_default() {
            if let Some(lock) = self.locks.get_mut(&key) {
                lock.holders.remove(pid);
            }
            granted.extend(self.wake(key));
        }
        granted
    }

    /// Ends the wait of the session, if it waits.
    pub fn leave_queue(&mut self, pid: i32) -> Vec<i32> {
        let Some(key) = self.awaited_by.remove(&pid) else {
            return Vec::new();
        };
        if let Some(lock) = self.locks.get_mut(&key) {
            lock.queue.retain(|(waiter, _)| *waiter != pid);
        }
        self.wake(key)
    }

    /// Ends the session: its wait, and everything that it holds.
    pub fn end(&mut self, pid: i32) -> Vec<i32> {
        let mut granted = self.leave_queue(pid);
        granted.extend(self.unlock_all(pid));
        granted
    }

    /// What the session holds: the answer to [`Topic::Holdings`](super::Topic::Holdings).
    pub fn holdings(&self, pid: i32) -> impl Iterator<Item = Holding> {
        let keys = self.held_by.get(&pid).into_iter().flatten();
        keys.flat_map(move |&key| {
            let lock = self.locks.get(&key);
            let has = move |mode: &Mode| lock.is_some_and(|lock| lock.holders.has(pid, *mode));
            MODES.into_iter().filter(has).map(move |mode| Holding { key, mode })
        })
    }

    /// How often the session holds the lock.
    pub fn count(&self, pid: i32, holding: Holding) -> u32 {
        self.locks.get(&holding.key).map_or(0, |lock| lock.holders.count(pid, holding.mode))
    }

    /// The lock that the session waits for.
    pub fn awaited_by(&self, pid: i32) -> Option<LockKey> {
        self.awaited_by.get(&pid).copied()
    }

    /// The holders of this lock and then its queue, or those of every lock in the order of the
    /// keys. This is the answer to [`Topic::Locks`](super::Topic::Locks), except for the names of
    /// the sessions.
    pub fn entries(&self, key: Option<LockKey>) -> Vec<LockEntry> {
        let entries = |(key, lock): (&LockKey, &Lock)| lock.entries(*key);
        match key {
            Some(key) => self.locks.get_key_value(&key).map(entries).unwrap_or_default(),
            None => self.locks.iter().flat_map(entries).collect(),
        }
    }

    /// Grants the lock to waiters in order. It stops at the first one that must keep waiting: a
    /// writer conflicts with all behind it, and a reader waits only for a writer, which conflicts
    /// with everyone.
    fn wake(&mut self, key: LockKey) -> Vec<i32> {
        let mut granted = Vec::new();
        let Some(Lock { holders, queue }) = self.locks.get_mut(&key) else {
            return granted;
        };
        while let Some(&(pid, mode)) = queue.front()
            && holders.are_compatible_with(pid, mode)
        {
            queue.pop_front();
            holders.add(pid, mode);
            self.held_by.entry(pid).or_default().insert(key);
            self.awaited_by.remove(&pid);
            granted.push(pid);
        }
        if holders.readers.is_empty() && holders.writer.is_none() {
            self.locks.remove(&key);
        }
        granted
    }
}

const MODES: [Mode; 2] = [Mode::Read, Mode::Write];

impl Lock {
    fn is_free_for(&self, pid: i32, mode: Mode) -> bool {
        let mut ahead = self.queue.range(..self.place_of(pid));
        self.holders.has(pid, mode)
            || (self.holders.are_compatible_with(pid, mode)
                && ahead.all(|(_, theirs)| mode.is_compatible_with(*theirs)))
    }

    /// The session's place in the queue: at the end, or ahead of sessions that wait for what it
    /// holds.
    fn place_of(&self, pid: i32) -> usize {
        let ahead = |held: Mode| {
            let waits = |(_, wanted): &(i32, Mode)| !wanted.is_compatible_with(held);
            self.queue.iter().position(waits)
        };
        let places =
            MODES.into_iter().filter(|held| self.holders.has(pid, *held)).filter_map(ahead);
        places.min().unwrap_or(self.queue.len())
    }

    fn entries(&self, key: LockKey) -> Vec<LockEntry> {
        let readers = self.holders.readers.keys().map(|pid| (*pid, Mode::Read, true));
        let writer = self.holders.writer.iter().map(|(pid, _)| (*pid, Mode::Write, true));
        let waiters = self.queue.iter().map(|(pid, mode)| (*pid, *mode, false));
        let claims: Vec<_> = readers.chain(writer).chain(waiters).collect();
        let entry = |(at, &(pid, mode, granted)): (usize, &(i32, Mode, bool))| {
            let mut entry = lock_entry(Holding { key, mode }, granted, pid);
            if !granted {
                let ahead = claims[..at].iter();
                let blocks = |claim: &&(i32, Mode, bool)| {
                    claim.0 != pid && !claim.1.is_compatible_with(mode)
                };
                entry.blocked_by = ahead.filter(blocks).map(|claim| claim.0).collect();
            }
            entry
        };
        claims.iter().enumerate().map(entry).collect()
    }
}

#[cfg(test)]
mod tests;
