use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::key::LockKey;

/// What every operation of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a lock operation failed.
///
/// A lock that somebody else holds is not an error for `try_read` and `try_write`: they answer `Ok(None)`.
/// [`kind`](Self::kind) is what a program branches on; the text is for people; [`source`](StdError::source) is the driver's own
/// error where there is one. Neither shows connection settings, so no password can appear in a log.
#[derive(Clone)]
pub struct Error {
    kind: ErrorKind,
    key: Option<LockKey>,
    // Shared, because one broken connection fails many waiters.
    cause: Arc<Cause>,
}

struct Cause {
    message: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The kinds of [`Error`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The time given to `try_read_for` or `try_write_for` ran out while somebody else held the lock.
    Timeout,
    /// The lock had been lost before it was released: the session that held it ended.
    Lost,
    /// The lock manager was closed.
    Closed,
    /// The server could not be reached, or the connection broke.
    Connection,
    /// The server ended the wait because it was part of a deadlock.
    Deadlock,
    /// The server's shared lock table is full (SQLSTATE 53200), or this manager holds as much of it as it may.
    LockTableFull,
    /// More callers wait in the lock manager than it allows.
    QueueFull,
    /// The server accepts no more connections (SQLSTATE 53300).
    TooManyConnections,
    /// The role may not log in, or may not call the advisory lock functions (SQLSTATE classes 28 and 42501).
    PermissionDenied,
    /// What answers is not a server on which these locks exclude anybody: a standby, or a pooler that moves statements between server sessions.
    UnsupportedServer,
    /// An option is out of range, or the connection settings cannot work: a URL that cannot be read, a database that does not exist.
    InvalidOptions,
    /// The call was made outside a tokio runtime.
    NoRuntime,
    /// Anything else that the driver reported.
    Driver,
}

impl Error {
    /// An error of this kind, with a text that says what happened and what to do.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, key: None, cause: Arc::new(Cause { message: message.into(), source: None }) }
    }

    /// An error that another one caused.
    pub fn with_source(
        kind: ErrorKind,
        message: impl Into<Cow<'static, str>>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self {
            kind,
            key: None,
            cause: Arc::new(Cause { message: message.into(), source: Some(source.into()) }),
        }
    }

    /// The same error, about this key.
    #[must_use]
    pub fn for_key(self, key: LockKey) -> Self {
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

    pub(crate) fn timeout() -> Self {
        Self::new(ErrorKind::Timeout, "the lock was not free within the given time")
    }

    pub(crate) fn closed() -> Self {
        Self::new(ErrorKind::Closed, "the lock manager was closed")
    }

    pub(crate) fn queue_full() -> Self {
        Self::new(
            ErrorKind::QueueFull,
            "as many callers wait for locks of this manager as may: try again later, or raise max_waiters",
        )
    }

    pub(crate) fn too_many_locks() -> Self {
        Self::new(
            ErrorKind::LockTableFull,
            "this manager holds as many locks as it may, so that the server's lock table has room for others: \
             hold fewer keys, or raise max_locks",
        )
    }

    pub(crate) fn silent() -> Self {
        Self::new(
            ErrorKind::Connection,
            "the server has not answered for as long as the lease lasts: the network or the server is down or overloaded",
        )
    }

    pub(crate) fn superseded_server() -> Self {
        Self::new(
            ErrorKind::UnsupportedServer,
            "the server has been superseded: another one was promoted, or the address leads to another server or database now",
        )
    }

    pub(crate) fn lost() -> Self {
        Self::new(
            ErrorKind::Lost,
            "the lock was lost: the session that held it ended before the release",
        )
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.kind);
        if let Some(key) = self.key {
            out.field("key", &key);
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
        if let Some(key) = self.key {
            write!(f, "lock {key}: ")?;
        }
        f.write_str(&self.cause.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
