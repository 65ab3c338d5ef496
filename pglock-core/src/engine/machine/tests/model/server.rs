//! A server with PostgreSQL's rules for locks.

use crate::driver::{Holding, LockTable};
use crate::key::LockKey;
use crate::looking::LockEntry;
use crate::mode::Mode;
use crate::token::FencingToken;

/// A server session.
pub(crate) type Pid = i32;

/// The lock table of the in-memory backend, with the queries and changes that the model needs.
#[derive(Debug, Default)]
pub(crate) struct Server {
    table: LockTable,
    tokens: i64,
}

impl Server {
    pub(crate) fn try_lock(&mut self, pid: Pid, key: LockKey, mode: Mode) -> bool {
        self.table.try_lock(pid, key, mode)
    }

    pub(crate) fn lock(&mut self, pid: Pid, key: LockKey, mode: Mode) -> bool {
        self.table.lock(pid, key, mode)
    }

    pub(crate) fn unlock(&mut self, pid: Pid, key: LockKey, mode: Mode) -> bool {
        self.table.unlock(pid, key, mode).is_some()
    }

    pub(crate) fn downgrade(&mut self, pid: Pid, key: LockKey) -> bool {
        self.table.downgrade(pid, key).is_some()
    }

    /// Afterwards it holds both.
    pub(crate) fn half_downgrade(&mut self, pid: Pid, key: LockKey) -> bool {
        self.count(pid, key, Mode::Write) > 0 && self.table.try_lock(pid, key, Mode::Read)
    }

    pub(crate) fn upgrade(&mut self, pid: Pid, key: LockKey) -> bool {
        self.table.upgrade(pid, key)
    }

    /// Whether writers that wait are in the way depends on the version of the server.
    pub(crate) fn let_in(&mut self, pid: Pid, key: LockKey, passes_writers: bool) -> bool {
        self.downgrade(pid, key);
        let is_alone = self.claims(key) == [(pid, Mode::Read)];
        (passes_writers || is_alone) && self.upgrade(pid, key)
    }

    /// Both are held then.
    pub(crate) fn half_upgrade(&mut self, pid: Pid, key: LockKey) -> bool {
        self.count(pid, key, Mode::Read) > 0 && self.table.try_lock(pid, key, Mode::Write)
    }

    pub(crate) fn unlock_all(&mut self, pid: Pid) {
        self.table.unlock_all(pid);
    }

    pub(crate) fn leave_queue(&mut self, pid: Pid) {
        self.table.leave_queue(pid);
    }

    /// A token that was not given before.
    pub(crate) fn token(&mut self) -> FencingToken {
        self.tokens += 1;
        FencingToken::new(self.tokens).expect("a positive number")
    }

    /// The session has ended.
    pub(crate) fn end(&mut self, pid: Pid) {
        self.table.end(pid);
    }

    pub(crate) fn is_waiting(&self, pid: Pid) -> bool {
        self.awaits(pid).is_some()
    }

    /// The lock that the session waits for.
    pub(crate) fn awaits(&self, pid: Pid) -> Option<LockKey> {
        self.table.awaited_by(pid)
    }

    pub(crate) fn count(&self, pid: Pid, key: LockKey, mode: Mode) -> u32 {
        self.table.count(pid, Holding { key, mode })
    }

    pub(crate) fn holdings(&self, pid: Pid) -> Vec<Holding> {
        self.table.holdings(pid).collect()
    }

    /// All locks that are held, and how often.
    pub(crate) fn held(&self) -> impl Iterator<Item = (Pid, Holding, u32)> {
        let held = self.rows().into_iter().filter(|entry| entry.granted);
        held.map(|entry| {
            let holding = Holding { key: entry.key, mode: entry.mode };
            (entry.pid, holding, self.table.count(entry.pid, holding))
        })
    }

    /// All locks that are held or waited for.
    pub(crate) fn rows(&self) -> Vec<LockEntry> {
        self.table.entries(None)
    }

    /// The sessions that hold the key or wait for it.
    pub(crate) fn claims(&self, key: LockKey) -> Vec<(Pid, Mode)> {
        let entries = self.table.entries(Some(key));
        entries.into_iter().map(|entry| (entry.pid, entry.mode)).collect()
    }

    /// The sessions that hold the key.
    pub(crate) fn holders(&self, key: LockKey) -> Vec<Pid> {
        let entries = self.table.entries(Some(key)).into_iter();
        entries.filter(|entry| entry.granted).map(|entry| entry.pid).collect()
    }
}
