//! Sessions of a lock table that wait for each other.

use std::collections::BTreeSet;

use super::LockTable;

impl LockTable {
    /// Whether the session waits, by way of others, for itself. PostgreSQL then ends its wait with
    /// the SQLSTATE code 40P01; the session keeps what it holds.
    ///
    /// A deadlock begins with a wait, so it is enough to ask when a session has joined a queue. The
    /// table follows the holders of locks, not the sessions ahead in a queue: where these are part
    /// of the circle, PostgreSQL reorders the queue.
    pub fn is_deadlocked(&self, pid: i32) -> bool {
        let mut seen = BTreeSet::new();
        let mut blockers = self.blockers(pid);
        while let Some(blocker) = blockers.pop() {
            if blocker == pid {
                return true;
            }
            if seen.insert(blocker) {
                blockers.extend(self.blockers(blocker));
            }
        }
        false
    }

    /// The other sessions that hold the lock for which this one waits, in a conflicting mode.
    fn blockers(&self, pid: i32) -> Vec<i32> {
        let lock = self.awaited_by.get(&pid).and_then(|key| self.locks.get(key));
        let Some(lock) = lock else {
            return Vec::new();
        };
        let wanted = lock.queue.iter().find(|(waiter, _)| *waiter == pid).map(|(_, mode)| *mode);
        let readers = lock.holders.readers.keys().filter(|_| wanted == Some(super::Mode::Write));
        let writer = lock.holders.writer.iter().map(|(writer, _)| writer);
        readers.chain(writer).copied().filter(|holder| *holder != pid).collect()
    }
}
