//! What the runtime logs about sessions, with all texts in one place. The documentation of the
//! crate lists them.

use std::time::Duration;

use crate::engine::machine::event::ServerFacts;
use crate::error::Error;
use crate::key::LockKey;
use crate::looking::Deadlock;

/// A log entry, written while no mutex is held. `pid` is the backend of the session, if it was
/// opened.
pub(crate) enum Log {
    LocksLost { pid: Option<i32>, held: usize, error: Error },
    WaitCancelled { pid: Option<i32>, key: LockKey, error: Error },
    CancelRefused { pid: Option<i32>, error: Error },
    Down { pid: Option<i32>, error: Error },
    Up { pid: Option<i32>, down_for: Duration },
}

impl Log {
    pub(crate) fn write(self) {
        match self {
            Self::LocksLost { pid, held, error } => {
                tracing::warn!(pid, held, %error, "locks lost: their session has ended");
            }
            Self::WaitCancelled { pid, key, error } => tracing::warn!(
                pid,
                %key,
                %error,
                "the server ended a wait that was not given up, as pg_cancel_backend does: waiting again"
            ),
            Self::CancelRefused { pid, error } => tracing::warn!(
                pid,
                %error,
                "the server refused to cancel a wait: closing its connection instead, and polling busy locks from now on"
            ),
            Self::Down { pid, error } => connection_lost(pid, &error),
            Self::Up { pid, down_for } => tracing::warn!(pid, ?down_for, "the server is back"),
        }
    }
}

fn connection_lost(pid: Option<i32>, error: &Error) {
    let error = error.with_causes();
    match pid {
        Some(_) => tracing::warn!(
            pid,
            %error,
            "connection to the server lost: no lock can be acquired until a new one is made"
        ),
        None => tracing::warn!(
            %error,
            "the server cannot be reached: no lock can be acquired until it can"
        ),
    }
}

pub(super) fn session_opened(server: &ServerFacts) {
    dedicated_session_opened(server);
    if !server.can_cancel {
        tracing::warn!(
            pid = server.pid,
            "the role may not cancel the statements of its own sessions, as after SET ROLE: \
             polling busy locks instead of waiting in the server's queue"
        );
    }
}

pub(crate) fn dedicated_session_opened(server: &ServerFacts) {
    let pid = server.pid;
    tracing::debug!(pid, "lock session opened");
    if server.has_lease == Some(false) {
        tracing::warn!(
            pid,
            version = server.version,
            "the server has no lease: it keeps the locks of a client that is stopped or cut off (PostgreSQL 14 and later have one)"
        );
    }
}

pub(crate) fn session_ended(pid: i32, error: &Error) {
    tracing::debug!(pid, %error, "lock session ended");
}

pub(crate) fn session_not_opened(error: &Error) {
    tracing::debug!(%error, "lock session could not be opened");
}

/// The second connection of a dedicated session has failed.
pub(crate) fn wait_not_cancelled(pid: i32, error: &Error) {
    tracing::debug!(pid, %error, "a wait of a dedicated session could not be cancelled");
}

/// There is no second session to compare with the first one.
pub(super) fn no_other_session(error: Option<&Error>) {
    match error {
        Some(error) => tracing::debug!(%error, "no other session to compare with"),
        None => tracing::debug!("no other session to compare with in time"),
    }
}

/// Callers wait for each other's locks.
pub(crate) fn deadlock_found(deadlock: &Deadlock) {
    match deadlock.is_certain {
        true => tracing::warn!(%deadlock, "deadlock: these callers wait for each other's locks"),
        false => tracing::warn!(
            %deadlock,
            "deadlock suspected: these callers wait for each other's locks, unless another task releases one of them"
        ),
    }
}

pub(super) fn function_panicked() {
    tracing::error!("a function given to on_loss panicked");
}
