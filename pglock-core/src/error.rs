//! The error type of this crate, and its kinds.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::key::LockKey;
use crate::looking::LockEntry;
use crate::names::{Name, Shown, ShownKey};

pub(crate) use self::backend::Failure;
pub use self::kind::ErrorKind;

mod backend;
mod kind;
mod messages;

/// The result of every operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a lock operation failed.
///
/// A busy lock is not an error for `try_read` and `try_write`: they return `Ok(None)`. Programs
/// branch on [`kind`](Self::kind), the text is for people, and [`source`](StdError::source) is the
/// driver's own error where there is one. None of them shows connection settings, so no password
/// can appear in a log.
///
/// The text is for operators: a timeout names pids, applications and addresses. In a reply to a
/// client, print the [`ErrorKind`] instead, whose text is short and fixed.
///
/// # Examples
///
/// ```
/// use pglock_core::{Error, ErrorKind};
///
/// /// What to write to the log.
/// fn report(error: &Error) -> String {
///     match (error.kind(), error.key()) {
///         (ErrorKind::Timeout, Some(key)) => {
///             format!("{} holders kept {key} for too long: {error}", error.holders().len())
///         }
///         _ => error.to_string(),
///     }
/// }
/// ```
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

    /// The kind of the error, for programs to branch on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The key that the failed operation was about, if it was about one.
    pub fn key(&self) -> Option<LockKey> {
        self.key
    }

    /// The holders of the lock when the time ran out, if the server named them within 25 ms.
    pub fn holders(&self) -> &[LockEntry] {
        &self.cause.holders
    }

    /// The same error, about this key and what it is called.
    pub(crate) fn about(self, key: LockKey, name: Option<&Arc<Name>>) -> Self {
        self.named(key, name.map(|name| name.text().clone()))
    }

    pub(crate) fn named(self, key: LockKey, name: Option<Arc<str>>) -> Self {
        Self { key: Some(key), name, ..self }
    }

    /// The same error, with its consequence added to the text.
    pub(crate) fn and_then(self, consequence: &str) -> Self {
        let message = format!("{}; {consequence}", self.cause.message);
        let kind = self.kind;
        self.with_message(kind, message)
    }

    /// The same error, as another kind.
    pub(crate) fn of_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// The same cause, with a different text.
    fn with_message(self, kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        let (message, source) = (message.into(), self.cause.source.clone());
        Self { kind, cause: Arc::new(Cause { message, source, holders: Vec::new() }), ..self }
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
}

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
        if let Some(key) = self.key {
            write!(f, "lock {}: ", ShownKey(key, self.name.as_deref()))?;
        }
        f.write_str(&self.cause.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
