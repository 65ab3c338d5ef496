//! The lock table: PostgreSQL's rules for advisory locks.

use std::collections::{BTreeSet, HashMap, VecDeque};

use pglock_core::driver::Holding;
use pglock_core::{LockKey, Mode};

use crate::witness::LockRow;

/// A session.
pub(super) type Pid = i32;

#[derive(Debug, Default)]
pub(super) struct LockTable {
    /// Those that somebody holds.
    locks: HashMap<LockKey, Lock>,
    /// So that the end of a session does not have to look at all locks.
    held_by: HashMap<Pid, BTreeSet<LockKey>>,
}

#[derive(Debug, Default)]
struct Lock {
    holders: Holders,
    queue: VecDeque<(Pid, Mode)>,
}

/// Who holds a lock, and how often.
#[derive(Debug, Default)]
struct Holders {
    readers: HashMap<Pid, u32>,
    writer: Option<(Pid, u32)>,
}

impl LockTable {
    /// Takes the lock if nobody else holds it or comes before this session in the queue, in a
    /// conflicting mode.
    pub(super) fn try_lock(&mut self, pid: Pid, key: LockKey, mode: Mode) -> bool {
        let lock = self.locks.entry(key).or_default();
        let free = lock.is_free_for(pid, mode);
        if free {
            lock.holders.add(pid, mode);
            self.held_by.entry(pid).or_default().insert(key);
        }
        free
    }

    /// True if it was granted; otherwise the session is in the queue.
    pub(super) fn lock(&mut self, pid: Pid, key: LockKey, mode: Mode) -> bool {
        let granted = self.try_lock(pid, key, mode);
        if !granted {
            let lock = self.locks.entry(key).or_default();
            lock.queue.insert(lock.place_of(pid), (pid, mode));
        }
        granted
    }

    /// The sessions that are granted the lock thereby; `None` if it was not held.
    pub(super) fn unlock(&mut self, pid: Pid, key: LockKey, mode: Mode) -> Option<Vec<Pid>> {
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

    /// Turns a write lock into a read lock. The sessions that are granted the lock thereby; `None`
    /// if it was not held.
    pub(super) fn downgrade(&mut self, pid: Pid, key: LockKey) -> Option<Vec<Pid>> {
        let holders = &mut self.locks.get_mut(&key)?.holders;
        if !holders.has(pid, Mode::Write) {
            return None;
        }
        holders.add(pid, Mode::Read);
        self.unlock(pid, key, Mode::Write)
    }

    /// The sessions that are granted a lock thereby.
    pub(super) fn unlock_all(&mut self, pid: Pid) -> Vec<Pid> {
        let mut granted = Vec::new();
        for key in self.held_by.remove(&pid).unwrap_or_default() {
            if let Some(lock) = self.locks.get_mut(&key) {
                lock.holders.remove(pid);
            }
            granted.extend(self.wake(key));
        }
        granted
    }

    /// The sessions that are granted the lock thereby.
    pub(super) fn leave_queue(&mut self, pid: Pid, key: LockKey) -> Vec<Pid> {
        if let Some(lock) = self.locks.get_mut(&key) {
            lock.queue.retain(|(waiter, _)| *waiter != pid);
        }
        self.wake(key)
    }

    pub(super) fn holdings(&self, pid: Pid) -> impl Iterator<Item = Holding> {
        let keys = self.held_by.get(&pid).into_iter().flatten();
        keys.flat_map(move |&key| {
            let lock = self.locks.get(&key);
            let has = move |mode: &Mode| lock.is_some_and(|lock| lock.holders.has(pid, *mode));
            MODES.into_iter().filter(has).map(move |mode| Holding { key, mode })
        })
    }

    /// Everything, in the order of the keys: who holds before who waits.
    pub(super) fn rows(&self) -> Vec<LockRow> {
        let mut rows: Vec<_> = self.locks.iter().flat_map(|(key, lock)| lock.rows(*key)).collect();
        rows.sort_by_key(|row| (row.key, !row.granted));
        rows
    }

    /// Grants to those in the queue, in their order. Nobody passes one that has to go on waiting:
    /// behind a writer everybody conflicts with it, and a reader waits only for a writer, which
    /// conflicts with everybody.
    fn wake(&mut self, key: LockKey) -> Vec<Pid> {
        let mut granted = Vec::new();
        let Some(Lock { holders, queue }) = self.locks.get_mut(&key) else {
            return granted;
        };
        while let Some((pid, mode)) =
            queue.pop_front_if(|(pid, mode)| holders.are_compatible_with(*pid, *mode))
        {
            holders.add(pid, mode);
            self.held_by.entry(pid).or_default().insert(key);
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
    fn is_free_for(&self, pid: Pid, mode: Mode) -> bool {
        let mut before = self.queue.range(..self.place_of(pid));
        self.holders.has(pid, mode)
            || (self.holders.are_compatible_with(pid, mode)
                && before.all(|(_, theirs)| mode.is_compatible_with(*theirs)))
    }

    /// Where the session would stand in the queue: at its end, or before those who wait for what it
    /// holds.
    fn place_of(&self, pid: Pid) -> usize {
        let before = |held: Mode| {
            let waits = |(_, wanted): &(Pid, Mode)| !wanted.is_compatible_with(held);
            self.queue.iter().position(waits)
        };
        let places =
            MODES.into_iter().filter(|held| self.holders.has(pid, *held)).filter_map(before);
        places.min().unwrap_or(self.queue.len())
    }

    fn rows(&self, key: LockKey) -> impl Iterator<Item = LockRow> {
        let readers = self.holders.readers.keys().map(|pid| (*pid, Mode::Read, true));
        let writer = self.holders.writer.iter().map(|(pid, _)| (*pid, Mode::Write, true));
        let waiters = self.queue.iter().map(|(pid, mode)| (*pid, *mode, false));
        let rows = readers.chain(writer).chain(waiters);
        rows.map(move |(pid, mode, granted)| LockRow { key, mode, granted, pid })
    }
}

impl Holders {
    fn has(&self, pid: Pid, mode: Mode) -> bool {
        match mode {
            Mode::Read => self.readers.contains_key(&pid),
            Mode::Write => self.writer.is_some_and(|(writer, _)| writer == pid),
        }
    }

    /// Whether no other session holds it in a conflicting mode.
    fn are_compatible_with(&self, pid: Pid, mode: Mode) -> bool {
        self.writer.is_none_or(|(writer, _)| writer == pid)
            && (mode == Mode::Read || self.readers.keys().all(|reader| *reader == pid))
    }

    fn add(&mut self, pid: Pid, mode: Mode) {
        match mode {
            Mode::Read => *self.readers.entry(pid).or_default() += 1,
            Mode::Write => self.writer.get_or_insert((pid, 0)).1 += 1,
        }
    }

    /// `None` if the session does not hold it in this mode.
    fn take(&mut self, pid: Pid, mode: Mode) -> Option<()> {
        let count = match mode {
            Mode::Read => self.readers.get_mut(&pid)?,
            Mode::Write => &mut self.writer.as_mut().filter(|(writer, _)| *writer == pid)?.1,
        };
        *count -= 1;
        if *count == 0 {
            match mode {
                Mode::Read => drop(self.readers.remove(&pid)),
                Mode::Write => self.writer = None,
            }
        }
        Some(())
    }

    fn remove(&mut self, pid: Pid) {
        self.readers.remove(&pid);
        self.writer = self.writer.filter(|(writer, _)| *writer != pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Mode::{Read, Write};

    const A: Pid = 1;
    const B: Pid = 2;
    const C: Pid = 3;
    const D: Pid = 4;

    fn key() -> LockKey {
        "key".into()
    }

    #[test]
    fn locks_stack_per_session_and_mode() {
        let mut table = LockTable::default();
        assert!(table.try_lock(A, key(), Write));
        assert!(table.try_lock(A, key(), Write));
        assert!(table.try_lock(A, key(), Read));
        assert!(!table.lock(B, key(), Read));
        assert_eq!(table.unlock(A, key(), Write), Some(vec![]));
        assert_eq!(table.unlock(A, key(), Write), Some(vec![B]));
        assert_eq!(table.unlock(A, key(), Write), None);
        assert_eq!(table.holdings(A).collect::<Vec<_>>(), [Holding { key: key(), mode: Read }]);
    }

    #[test]
    fn readers_do_not_pass_a_waiting_writer_and_come_in_together_behind_it() {
        let mut table = LockTable::default();
        assert!(table.lock(A, key(), Read));
        assert!(!table.lock(B, key(), Write));
        assert!(!table.try_lock(C, key(), Read));
        assert!(!table.lock(C, key(), Read) && !table.lock(D, key(), Read));
        assert_eq!(table.unlock(A, key(), Read), Some(vec![B]));
        assert_eq!(table.unlock_all(B), [C, D]);
    }

    #[test]
    fn session_that_holds_a_lock_does_not_queue_behind_those_who_wait_for_it() {
        let mut table = LockTable::default();
        assert!(table.lock(A, key(), Read) && table.lock(B, key(), Read));
        assert!(!table.lock(C, key(), Write));
        assert!(table.try_lock(A, key(), Read));
        // Not yet, but before the other one.
        assert!(!table.lock(A, key(), Write));
        assert_eq!(table.unlock(B, key(), Read), Some(vec![A]));
        assert!(table.unlock_all(A).contains(&C));
    }

    #[test]
    fn queue_moves_on_when_the_first_leaves_it() {
        let mut table = LockTable::default();
        assert!(table.lock(A, key(), Read));
        assert!(!table.lock(B, key(), Write));
        assert!(!table.lock(C, key(), Read));
        assert_eq!(table.leave_queue(B, key()), [C]);
        table.unlock_all(A);
        table.unlock_all(C);
        assert!(table.rows().is_empty() && table.locks.is_empty() && table.held_by.is_empty());
    }
}
