//! The errors that a driver reports.

use std::error::Error as StdError;
use std::fmt;

use crate::error::{Error, Failure};

/// An error of a driver, and whether the session survived it.
///
/// Carries the client's own error, which must not show connection settings.
///
/// # Examples
///
/// An adapter decides in one function what an error means:
///
/// ```
/// use pglock_core::driver::DriverError;
///
/// /// What a client may report.
/// enum Failure {
///     Refused { sqlstate: String },
///     UnexpectedReply,
///     InvalidUrl,
///     Broken,
/// }
///
/// fn driver_error(failure: Failure) -> DriverError {
///     match failure {
///         Failure::Refused { sqlstate } => {
///             DriverError::statement("the server refused").with_sqlstate(Some(sqlstate))
///         }
///         Failure::UnexpectedReply => DriverError::protocol("unexpected reply"),
///         Failure::InvalidUrl => DriverError::configuration("the URL cannot be read"),
///         Failure::Broken => DriverError::connection("the connection broke"),
///     }
/// }
/// ```
#[derive(Debug)]
pub struct DriverError {
    failure: Failure,
    sqlstate: Option<String>,
    source: Box<dyn StdError + Send + Sync>,
}

/// Why the server refused a statement, as far as the client shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reason {
    /// The statement was cancelled, by this engine or by an operator. The server's own timeouts
    /// cannot be the cause: each session sets them to 0.
    Cancelled,
    /// The statement itself is at fault.
    Itself,
    /// The client does not show the SQLSTATE code.
    Unknown,
}

impl DriverError {
    /// The server refused the statement; the session lives and keeps what it held.
    pub fn statement(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Failure::Statement, source.into())
    }

    /// The connection could not be made, has ended, or is in doubt: the session is over.
    pub fn connection(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Failure::Connection, source.into())
    }

    /// The reply does not match the request: the session is over.
    pub fn protocol(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Failure::Protocol, source.into())
    }

    /// The connection settings cannot work, so the engine does not try again.
    pub fn configuration(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Failure::Configuration, source.into())
    }

    fn new(failure: Failure, source: Box<dyn StdError + Send + Sync>) -> Self {
        Self { failure, sqlstate: None, source }
    }

    /// Adds the SQLSTATE code, if the client shows it. Without one, a refused statement may have
    /// been cancelled: the engine repeats it twice before it reports the error.
    #[must_use]
    pub fn with_sqlstate(self, code: Option<String>) -> Self {
        Self { sqlstate: code, ..self }
    }

    /// Whether the session can be used further.
    pub(crate) fn session_goes_on(&self) -> bool {
        self.failure == Failure::Statement
    }

    pub(crate) fn reason(&self) -> Reason {
        match self.sqlstate.as_deref() {
            Some("57014") => Reason::Cancelled,
            Some(_) => Reason::Itself,
            None => Reason::Unknown,
        }
    }

    /// Whether `lock_timeout` ended a wait. If the client does not show the SQLSTATE code, this
    /// depends on the time that has passed.
    pub(crate) fn is_lock_timeout(&self, time_is_up: bool) -> bool {
        self.session_goes_on()
            && match self.sqlstate.as_deref() {
                Some(code) => code == "55P03",
                None => time_is_up,
            }
    }

    /// The error that the user sees if this one comes from the check of a token.
    pub(crate) fn at_token_check(self) -> Error {
        Error::at_token_check(self.failure, self.sqlstate.as_deref(), self.source)
    }

    /// The error that the user sees if this one comes from the question that opens a session.
    pub(crate) fn at_open(self) -> Error {
        Error::at_open(self.failure, self.sqlstate.as_deref(), self.source)
    }
}

/// The error that the user sees.
impl From<DriverError> for Error {
    fn from(error: DriverError) -> Self {
        Self::of_backend(error.failure, error.sqlstate.as_deref(), error.source)
    }
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.source, f)
    }
}

impl StdError for DriverError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.source()
    }
}
