//! The error type of this crate, and its kinds.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::key::LockKey;
use crate::looking::LockEntry;
use crate::names::{Name, Shown};

/// What every operation of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a lock operation failed.
///
/// A lock that somebody else holds is not an error for `try_read` and `try_write`: they answer
/// `Ok(None)`. [`kind`](Self::kind) is what a program branches on; the text is for people;
/// [`source`](StdError::source) is the driver's own error where there is one. Neither shows
/// connection settings, so no password can appear in a log.
///
/// The text is for operators: a time-out names pids, applications and addresses. In a reply to a
/// client, print the [`ErrorKind`] instead, whose text is short and fixed.
#[derive(Clone)]
pub struct Error {
    kind: ErrorKind,
    key: Option<LockKey>,
    name: Option<Arc<str>>,
    // Shared, because one broken connection fails many waiters.
    cause: Arc<Cause>,
}

struct Cause {
    message: Cow<'static, str>,
    // Shared with errors that say more of the same.
    source: Option<Arc<dyn StdError + Send + Sync>>,
    holders: Vec<LockEntry>,
}

/// The kinds of [`Error`].
///
/// Each kind prints as a short text that names no key, session or address, so it is safe to show to
/// clients.
///
/// # Examples
///
/// ```
/// use pglock_core::{Error, ErrorKind};
///
/// /// The status and the body of an answer to a web client.
/// fn answer(error: &Error) -> (u16, String) {
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
    /// The lock had been lost before it was released: the session that held it ended.
    Lost,
    /// The lock manager was closed.
    Closed,
    /// The server could not be reached, or the connection broke.
    Connection,
    /// Two names that are in use in this process have the same key: as one lock, they would exclude
    /// each other without need, or for ever.
    KeyCollision,
    /// The server ended the wait because it was part of a deadlock.
    Deadlock,
    /// The server's shared lock table is full (SQLSTATE 53200), or this manager holds as much of it
    /// as it may.
    LockTableFull,
    /// More callers wait in the lock manager than it allows.
    QueueFull,
    /// The server accepts no more connections (SQLSTATE 53300).
    TooManyConnections,
    /// The role may not log in, or may not connect to the database or call the advisory lock
    /// functions (SQLSTATE classes 28 and 42501).
    PermissionDenied,
    /// What answers is not a server on which these locks exclude anybody: a standby, a pooler that
    /// moves statements between server sessions, or an engine whose advisory locks do nothing or
    /// that lacks what they need.
    UnsupportedServer,
    /// An option is out of range, or the connection settings cannot work: a URL that cannot be
    /// read, a database that does not exist.
    InvalidOptions,
    /// The lock engine has no thread or runtime to run on: the system refused the thread, or the
    /// runtime that the user named has ended.
    NoRuntime,
    /// Anything else that the driver reported.
    Driver,
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
            Self::QueueFull => "too many callers are waiting",
            Self::TooManyConnections => "the lock server has no free connections",
            Self::PermissionDenied => "the lock server denied access",
            Self::UnsupportedServer => "the server cannot be used for locks",
            Self::InvalidOptions => "the lock options are not valid",
            Self::NoRuntime => "the lock engine is not running",
            Self::Driver => "the lock server reported an error",
        })
    }
}

impl Error {
    /// An error of this kind, with a text that says what happened and what to do.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self::from_cause(kind, Cause { message: message.into(), source: None, holders: Vec::new() })
    }

    /// An error that another one caused.
    pub(crate) fn with_source(
        kind: ErrorKind,
        message: impl Into<Cow<'static, str>>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        let (message, source) = (message.into(), Some(source.into().into()));
        Self::from_cause(kind, Cause { message, source, holders: Vec::new() })
    }

    fn from_cause(kind: ErrorKind, cause: Cause) -> Self {
        Self { kind, key: None, name: None, cause: Arc::new(cause) }
    }

    /// The same error, about this key.
    #[must_use]
    pub(crate) fn for_key(self, key: LockKey) -> Self {
        Self { key: Some(key), ..self }
    }

    /// What a program branches on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The key the failed operation was about, where it was about one.
    pub fn key(&self) -> Option<LockKey> {
        self.key
    }

    /// Who held the lock when the time ran out, if the server answered that within 25 ms.
    pub fn holders(&self) -> &[LockEntry] {
        &self.cause.holders
    }

    /// The same error, about this key and what it is called.
    pub(crate) fn about(self, key: LockKey, name: Option<&Arc<Name>>) -> Self {
        Self { key: Some(key), name: name.map(|name| name.text().clone()), ..self }
    }

    /// `holders`: if the server could tell.
    pub(crate) fn timeout(holders: Vec<LockEntry>) -> Self {
        let mut message = "the lock was not free within the given time".to_owned();
        for (place, holder) in holders.iter().enumerate() {
            message += if place == 0 { "; held by " } else { ", " };
            if holder.is_ours {
                message += &format!("this process (pid {})", holder.pid);
                continue;
            }
            message += &format!("pid {}", holder.pid);
            if !holder.application_name.is_empty() {
                message += &format!(" {}", Shown(&holder.application_name));
            }
            if let Some(address) = holder.client_addr {
                message += &format!(" from {address}");
            }
        }
        Self::from_cause(
            ErrorKind::Timeout,
            Cause { message: message.into(), source: None, holders },
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

    pub(crate) fn closed() -> Self {
        Self::new(ErrorKind::Closed, "the lock manager was closed")
    }

    pub(crate) fn queue_full() -> Self {
        Self::new(
            ErrorKind::QueueFull,
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

    pub(crate) fn runtime_ended() -> Self {
        Self::new(
            ErrorKind::NoRuntime,
            "the runtime that was named for this lock manager has ended, or has no timers (enable_all): \
             name one that lasts, or none",
        )
    }

    pub(crate) fn clock_paused() -> Self {
        Self::new(
            ErrorKind::Connection,
            "tokio's clock is paused and jumps ahead whenever the runtime is idle, so the time-out expired before the server \
             could answer: do not pause the clock, or do not name this runtime when building the lock manager",
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
            "the server has not answered within the given time: the network or the server is down or overloaded",
        )
    }

    /// The same error, with its consequence added to the text.
    pub(crate) fn and_then(self, consequence: &str) -> Self {
        let Cause { message, source, .. } = &*self.cause;
        let (message, source) = (format!("{message}; {consequence}").into(), source.clone());
        Self { cause: Arc::new(Cause { message, source, holders: Vec::new() }), ..self }
    }

    /// The same error, as another kind.
    pub(crate) fn of_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// The error and its causes, in one line.
    pub(crate) fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let error_text = error.to_string();
            // Some errors show their cause themselves.
            if !text.contains(&error_text) {
                text = format!("{text}: {error_text}");
            }
            cause = error.source();
        }
        text
    }

    pub(crate) fn lost() -> Self {
        Self::new(ErrorKind::Lost, LOST)
    }

    pub(crate) fn lost_by(reason: Self) -> Self {
        Self::with_source(ErrorKind::Lost, LOST, reason)
    }
}

const LOST: &str = "the lock was lost: the session that held it ended before the release";

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.kind);
        if let Some(key) = self.key {
            out.field("key", &key);
        }
        if let Some(name) = &self.name {
            out.field("name", &format_args!("{}", Shown(name)));
        }
        out.field("message", &self.cause.message);
        if let Some(source) = &self.cause.source {
            out.field("source", source);
        }
        out.finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.key) {
            (Some(name), Some(key)) => write!(f, "lock {} ({key}): ", Shown(name))?,
            (None, Some(key)) => write!(f, "lock {key}: ")?,
            (_, None) => {}
        }
        f.write_str(&self.cause.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
