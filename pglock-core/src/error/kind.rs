//! The kinds of errors, and their short texts.

use std::fmt;

/// The kinds of [`Error`](crate::Error).
///
/// Each kind prints as a short text that names no key, session or address, so it is safe to show to
/// clients.
///
/// # Examples
///
/// ```
/// use pglock_core::{Error, ErrorKind};
///
/// /// The status and the body of a reply to a web client.
/// fn reply(error: &Error) -> (u16, String) {
///     let status = if error.kind() == ErrorKind::Timeout { 409 } else { 503 };
///     (status, error.kind().to_string())
/// }
///
/// assert_eq!(ErrorKind::Timeout.to_string(), "the lock was not free in time");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The time given to `try_read_for` or `try_write_for` ran out while another caller held the
    /// lock. If the manager had no connection, or the server did not answer, the error has the kind
    /// of that problem instead.
    Timeout,
    /// The lock was lost before it was released: the session that held it ended.
    Lost,
    /// The lock manager or the dedicated session was closed.
    Closed,
    /// The server could not be reached, or the connection broke.
    Connection,
    /// Two names that are in use in this process have the same key. As one lock, they would exclude
    /// each other without need, and a task that takes both would wait for ever.
    KeyCollision,
    /// The wait was ended because it was part of a deadlock: by this manager, as
    /// [`fail_on_deadlock`](crate::RwLock::fail_on_deadlock) asks it to, or by the server. The
    /// caller, or its [dedicated session](crate::DedicatedSession), keeps the locks that it holds.
    Deadlock,
    /// The server's shared lock table is full (SQLSTATE 53200), or this manager has reached its
    /// limit of locks.
    LockTableFull,
    /// Too many callers are waiting on this lock manager.
    TooManyWaiters,
    /// The server accepts no more connections (SQLSTATE 53300).
    TooManyConnections,
    /// The role may not log in, connect to the database, or call the functions that locks need
    /// (SQLSTATE class 28, and 42501).
    PermissionDenied,
    /// The server cannot be used for locks. It is a standby, a pooler that moves statements between
    /// server sessions, or an engine whose advisory locks do nothing or lack functions.
    UnsupportedServer,
    /// An option is out of range, or the connection settings cannot work, such as a URL that cannot
    /// be read or a database that does not exist.
    InvalidOptions,
    /// The lock engine cannot run: the system refused its thread, or the runtime that the
    /// application named has ended.
    NoRuntime,
    /// A task called `wait` of the feature `blocking`, which would block the thread that runs the
    /// task.
    BlockingInTask,
    /// Anything else that the driver reported.
    Driver,
}

#[cfg(feature = "metrics")]
macro_rules! labels {
    ($($kind:ident: $label:literal,)*) => {
        impl ErrorKind {
            /// All values of the label `kind` of metrics.
            pub(crate) const LABELS: &[&str] = &[$($label),*];

            /// The label `kind` of metrics.
            pub(crate) fn label(self) -> &'static str {
                match self {
                    $(Self::$kind => $label,)*
                }
            }
        }
    };
}

#[cfg(feature = "metrics")]
labels! {
    Timeout: "timeout",
    Lost: "lost",
    Closed: "closed",
    Connection: "connection",
    KeyCollision: "key_collision",
    Deadlock: "deadlock",
    LockTableFull: "lock_table_full",
    TooManyWaiters: "too_many_waiters",
    TooManyConnections: "too_many_connections",
    PermissionDenied: "permission_denied",
    UnsupportedServer: "unsupported_server",
    InvalidOptions: "invalid_options",
    NoRuntime: "no_runtime",
    BlockingInTask: "blocking_in_task",
    Driver: "driver",
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "the lock was not free in time",
            Self::Lost => "the lock was lost",
            Self::Closed => "the lock manager is closed",
            Self::Connection => "the lock server cannot be reached",
            Self::KeyCollision => "two names share one key",
            Self::Deadlock => "the wait for the lock was part of a deadlock",
            Self::LockTableFull => "too many locks are held",
            Self::TooManyWaiters => "too many callers are waiting",
            Self::TooManyConnections => "the lock server has no free connections",
            Self::PermissionDenied => "the lock server denied access",
            Self::UnsupportedServer => "the server cannot be used for locks",
            Self::InvalidOptions => "the lock options are not valid",
            Self::NoRuntime => "the lock engine is not running",
            Self::BlockingInTask => "a task made a blocking call",
            Self::Driver => "the lock server reported an error",
        })
    }
}
