//! Errors of backends that implement the lock trait without the engine.

use std::borrow::Cow;
use std::error::Error as StdError;

use crate::error::{Error, ErrorKind};
use crate::key::LockKey;

/// Builds an [`Error`], for a backend that implements
/// [`DistributedRwLock`](crate::DistributedRwLock) and [`Hold`](super::Hold) itself. A
/// [`Driver`](super::Driver) has [`DriverError`](super::DriverError) instead.
///
/// # Examples
///
/// ```
/// use pglock_core::driver::ErrorBuilder;
/// use pglock_core::{Error, ErrorKind, LockKey};
///
/// fn timeout(key: LockKey) -> Error {
///     ErrorBuilder::new(ErrorKind::Timeout, "not free in time").key(key).build()
/// }
///
/// fn unreachable(cause: std::io::Error) -> Error {
///     ErrorBuilder::new(ErrorKind::Connection, "the lock file cannot be read").source(cause).build()
/// }
/// ```
#[derive(Debug)]
#[must_use = "nothing is made before `build`"]
pub struct ErrorBuilder {
    kind: ErrorKind,
    message: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    key: Option<LockKey>,
}

impl ErrorBuilder {
    /// Starts an error of this kind. The text should say what happened and what to do.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), source: None, key: None }
    }

    /// Adds the key that the failed operation was about.
    pub fn key(mut self, key: LockKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Adds the error that caused this one.
    pub fn source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Builds the error.
    pub fn build(self) -> Error {
        let error = match self.source {
            Some(source) => Error::with_source(self.kind, self.message, source),
            None => Error::new(self.kind, self.message),
        };
        match self.key {
            Some(key) => error.for_key(key),
            None => error,
        }
    }
}
