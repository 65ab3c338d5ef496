//! The texts of the engine's errors: what happened, and what to do.

use std::time::Duration;

use super::{Cause, Error, ErrorKind};
use crate::looking::{Deadlock, LockEntry, Process};
use crate::names::Shown;

const LOST: &str = "the lock was lost: the session that held it ended before the release";

impl Error {
    /// `holders`: those that the server named in time.
    pub(crate) fn timeout(holders: Vec<LockEntry>) -> Self {
        Self::timed_out("the lock was not free within the timeout", holders)
    }

    /// The same for permits of a semaphore.
    pub(crate) fn no_permit(holders: Vec<LockEntry>) -> Self {
        Self::timed_out("too few permits were free within the timeout", holders)
    }

    /// The same for the gate of a fenced lock, whose holders are fenced transactions.
    pub(crate) fn timeout_at_gate(holders: Vec<LockEntry>) -> Self {
        let message = "a transaction that an earlier holder of the lock has fenced did not end within the timeout";
        Self::timed_out(message, holders)
    }

    fn timed_out(message: &str, holders: Vec<LockEntry>) -> Self {
        let mut message = message.to_owned();
        for (place, holder) in holders.iter().enumerate() {
            message += if place == 0 { "; held by " } else { ", " };
            let process = Process {
                pid: holder.pid,
                is_ours: holder.is_ours,
                application_name: &holder.application_name,
                client_addr: holder.client_addr,
            };
            message += &process.to_string();
        }
        Self::from_cause(
            ErrorKind::Timeout,
            Cause { message: message.into(), source: None, holders },
        )
    }

    /// For a wait that was to fail if it is part of a deadlock.
    pub(crate) fn deadlock(deadlock: &Deadlock) -> Self {
        let degree = if deadlock.is_certain { "" } else { "suspected " };
        Self::new(
            ErrorKind::Deadlock,
            format!(
                "the wait was given up, because it is part of a {degree}deadlock: {deadlock}; \
                 release what this task holds, and begin again"
            ),
        )
    }

    pub(crate) fn key_collision(name: &str, other: &str) -> Self {
        Self::new(
            ErrorKind::KeyCollision,
            format!(
                "the names {} and {} have the same key and would be one lock: rename one of them",
                Shown(name),
                Shown(other)
            ),
        )
    }

    /// The read lock itself may be held.
    pub(crate) fn right_lost() -> Self {
        Self::new(
            ErrorKind::Lost,
            "the right to upgrade this read lock was lost, because the session that held it ended: \
             release the read lock, and take an upgradable one again",
        )
    }

    pub(crate) fn closed() -> Self {
        Self::new(ErrorKind::Closed, "the lock manager was closed")
    }

    pub(crate) fn too_many_waiters() -> Self {
        Self::new(
            ErrorKind::TooManyWaiters,
            "too many callers are waiting on this lock manager: try again later, or raise max_waiters",
        )
    }

    pub(crate) fn too_many_locks() -> Self {
        Self::new(
            ErrorKind::LockTableFull,
            "this lock manager has reached its limit of held locks, which leaves room in the server's lock table for others: \
             hold fewer keys, or raise max_locks",
        )
    }

    pub(crate) fn no_keys() -> Self {
        Self::new(
            ErrorKind::InvalidOptions,
            "no key was given, so there is nothing to lock: give at least one",
        )
    }

    /// For a set of keys that would reach the limit.
    pub(crate) fn no_room(needed: usize, room: usize) -> Self {
        Self::new(
            ErrorKind::LockTableFull,
            format!(
                "the set needs {needed} more locks, but this lock manager may hold only {room} more, which leaves room in the \
                 server's lock table for others: take fewer keys at a time, or raise max_locks"
            ),
        )
    }

    pub(crate) fn runtime_ended() -> Self {
        Self::new(
            ErrorKind::NoRuntime,
            "the runtime that was named for this lock manager has ended, or has no timers (enable_all): \
             name one that lasts, or none",
        )
    }

    #[cfg(feature = "blocking")]
    pub(crate) fn blocking_in_task() -> Self {
        Self::new(
            ErrorKind::BlockingInTask,
            "a task called `wait`, which would block the thread that runs it, and may keep the holder of the lock from running: \
             use `.await`, or call `wait` in `spawn_blocking` or on a thread of your own",
        )
    }

    pub(crate) fn clock_paused() -> Self {
        Self::new(
            ErrorKind::Connection,
            "tokio's clock is paused and jumps ahead whenever the runtime is idle, so the timeout expired before the server \
             could answer: do not pause the clock, or do not name this runtime for the lock manager",
        )
    }

    pub(crate) fn driver_panicked() -> Self {
        Self::new(
            ErrorKind::Driver,
            "the driver panicked, see its message on standard error: a runtime that is named for the lock manager \
             needs timers and I/O (enable_all), and a set-up hook of connections must not panic",
        )
    }

    pub(crate) fn session_closed() -> Self {
        Self::new(ErrorKind::Closed, "the dedicated session was closed")
    }

    /// For callers of a dedicated session that has ended.
    pub(crate) fn session_ended(reason: Self) -> Self {
        Self::with_source(
            reason.kind(),
            "the dedicated session has ended, and its locks are lost: open another one",
            reason,
        )
    }

    pub(crate) fn session_moved() -> Self {
        Self::new(
            ErrorKind::UnsupportedServer,
            "a statement ran in another server session than the one that holds the locks: \
             connect to PostgreSQL directly or through a pooler in session mode",
        )
    }

    /// A dedicated session lacks a lock that its guards have.
    pub(crate) fn lock_taken_away() -> Self {
        Self::new(
            ErrorKind::Connection,
            "a lock that the session held is gone: something else released it in the same server session",
        )
    }

    /// The lock engine did not run for this time.
    pub(crate) fn stalled(time: Duration) -> Self {
        Self::new(
            ErrorKind::Connection,
            format!(
                "the lease ended because this process did not run its lock engine for {:.1} s: the process was stopped or \
                 suspended, or the runtime that was named for the lock manager was blocked (use spawn_blocking for long \
                 computations, or do not name a runtime)",
                time.as_secs_f64()
            ),
        )
    }

    pub(crate) fn silent() -> Self {
        Self::new(
            ErrorKind::Connection,
            "the server has not answered within the lease: the network or the server is down or overloaded",
        )
    }

    pub(crate) fn superseded_server() -> Self {
        Self::new(
            ErrorKind::UnsupportedServer,
            "the server has been superseded: another one was promoted, or the address now leads to another server or database; \
             make sure that all clients reach the same server, and take the lock again",
        )
    }

    pub(crate) fn unanswered() -> Self {
        Self::new(
            ErrorKind::Connection,
            "the server has not answered within the timeout: the network or the server is down or overloaded",
        )
    }

    /// A defect of this library: the caller gets an error instead of a wrong result.
    pub(crate) fn mismatched_reply() -> Self {
        Self::new(
            ErrorKind::Driver,
            "internal error: the lock engine delivered the reply to another command: please report this",
        )
    }

    pub(crate) fn lost() -> Self {
        Self::new(ErrorKind::Lost, LOST)
    }

    pub(crate) fn lost_by(reason: Self) -> Self {
        Self::with_source(ErrorKind::Lost, LOST, reason)
    }

    /// For a job whose work is done, but not settled.
    pub(crate) fn slot_taken_over() -> Self {
        Self::new(
            ErrorKind::Lost,
            "another replica has begun the slot since: it had the lock of the job, which was lost for a while",
        )
    }

    /// For work under a lease whose guard has released the lock.
    pub(crate) fn released() -> Self {
        Self::new(
            ErrorKind::Lost,
            "the lock was released: its guard was released or dropped while the work was still running",
        )
    }
}
