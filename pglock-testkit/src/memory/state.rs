//! The state of the server, behind its mutex: sessions and their locks.

use std::collections::BTreeMap;
use std::time::Duration;

use pglock_core::driver::{LockTable, Operation};
use pglock_core::{LockKey, Mode};
use tokio::sync::{oneshot, watch};

/// A session.
pub(super) type Pid = i32;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) table: LockTable,
    pub(super) sessions: BTreeMap<Pid, SessionState>,
    last_pid: Pid,
    pub(super) last_token: i64,
    pub(super) refuses_connections: bool,
    pub(super) refuses_statements: bool,
    pub(super) refuses_cancels: bool,
    pub(super) delay: Duration,
}

#[derive(Debug)]
pub(super) struct SessionState {
    pub(super) application_name: String,
    wait: Option<oneshot::Sender<Waited>>,
    /// Dropped with the session, which notifies the client.
    _lives: watch::Sender<()>,
}

/// How a wait ended. A wait whose session ends has no such value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waited {
    Granted,
    Cancelled,
    TimedOut,
}

/// The result of an operation.
#[derive(Debug)]
pub(super) enum Done {
    Now(bool),
    Later(oneshot::Receiver<Waited>),
    Deadlock,
}

impl State {
    /// Opens a session. The sender of the returned receiver is dropped when the session ends.
    pub(super) fn connect(&mut self) -> (Pid, watch::Receiver<()>) {
        self.last_pid += 1;
        let (lives, ends) = watch::channel(());
        let session = SessionState { application_name: String::new(), wait: None, _lives: lives };
        self.sessions.insert(self.last_pid, session);
        (self.last_pid, ends)
    }

    pub(super) fn execute(&mut self, pid: Pid, operation: Operation) -> Done {
        Done::Now(match operation {
            Operation::TryLock(key, mode)
            | Operation::TryFirst(key, mode)
            | Operation::TryAlso(key, mode)
            | Operation::TryInstead(key, mode) => self.table.try_lock(pid, key, mode),
            Operation::Unlock(key, mode) => {
                let granted = self.table.unlock(pid, key, mode);
                granted.map(|granted| self.notify(granted)).is_some()
            }
            Operation::Lock(key, mode) => return self.lock(pid, key, mode),
            Operation::Probe(key) => {
                let free = self.table.try_lock(pid, key, Mode::Read);
                if free && let Some(granted) = self.table.unlock(pid, key, Mode::Read) {
                    self.notify(granted);
                }
                free
            }
            Operation::Downgrade(key) => {
                let granted = self.table.downgrade(pid, key);
                granted.map(|granted| self.notify(granted)).is_some()
            }
            Operation::LetIn(key) => {
                let granted = self.table.downgrade(pid, key);
                granted.is_some_and(|granted| {
                    self.notify(granted);
                    self.table.upgrade(pid, key)
                })
            }
            Operation::Upgrade(key) => self.table.upgrade(pid, key),
            Operation::Cancel(pid) => self.cancel(pid),
            Operation::UnlockAll => {
                let granted = self.table.unlock_all(pid);
                self.notify(granted);
                true
            }
            // The session limits the wait.
            Operation::LimitWait(_) | Operation::Ping => true,
        })
    }

    fn lock(&mut self, pid: Pid, key: LockKey, mode: Mode) -> Done {
        if self.table.lock(pid, key, mode) {
            return Done::Now(true);
        }
        if self.table.is_deadlocked(pid) {
            let granted = self.table.leave_queue(pid);
            self.notify(granted);
            return Done::Deadlock;
        }
        let (answer, waited) = oneshot::channel();
        if let Some(session) = self.sessions.get_mut(&pid) {
            session.wait = Some(answer);
        }
        Done::Later(waited)
    }

    /// Cancels the wait of the session, if it waits. Returns false if there is no such session.
    pub(super) fn cancel(&mut self, pid: Pid) -> bool {
        self.end_wait(pid, Waited::Cancelled)
    }

    pub(super) fn end_wait(&mut self, pid: Pid, how: Waited) -> bool {
        let Some(session) = self.sessions.get_mut(&pid) else {
            return false;
        };
        if let Some(answer) = session.wait.take() {
            // The client may have been dropped.
            let _ = answer.send(how);
            let granted = self.table.leave_queue(pid);
            self.notify(granted);
        }
        true
    }

    /// Ends the session. Returns false if there is none.
    pub(super) fn end(&mut self, pid: Pid) -> bool {
        if self.sessions.remove(&pid).is_none() {
            return false;
        }
        let granted = self.table.end(pid);
        self.notify(granted);
        true
    }

    pub(super) fn end_all(&mut self) {
        // Locks of the sessions that end may be granted to each other in between.
        while let Some(pid) = self.sessions.keys().next().copied() {
            self.end(pid);
        }
    }

    /// Notifies the sessions that their waits are over.
    fn notify(&mut self, granted: Vec<Pid>) {
        for pid in granted {
            let wait = self.sessions.get_mut(&pid).and_then(|session| session.wait.take());
            if let Some(answer) = wait {
                let _ = answer.send(Waited::Granted);
            }
        }
    }
}
