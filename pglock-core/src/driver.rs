//! What a backend implements: how to open a session and run a statement in it.
//!
//! The engine decides *what* to say to the server and when; a driver only knows *how*. An adapter
//! over an SQL client binds [`Statement::params`] to [`Statement::sql`] and hands back the rows; it
//! holds no SQL and no lock logic. A backend that is not PostgreSQL reads
//! [`Request::to_operations`] and [`Question::topic`] and answers the same.
//!
//! A backend that takes locks in a way of its own implements
//! [`DistributedRwLock`](crate::DistributedRwLock), makes its guards from a [`Hold`] and its errors
//! by an [`ErrorBuilder`].

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;

pub use entry::{lock_entry, lock_row};
pub use error_builder::ErrorBuilder;
pub use hold::Hold;
pub use question::{Fact, Holding, Question, Row, Topic};
pub use request::{Answer, Operation, Request};
pub use statement::{Param, Statement};

pub(crate) use entry::read_lock_row;

use crate::error::{Error, ErrorKind};

mod entry;
mod error_builder;
mod hold;
mod question;
mod request;
mod statement;

/// What an adapter over an SQL client runs first in each session: a text of several statements,
/// without parameters and without rows, for the simple query protocol.
///
/// Without it, what a role has set can keep even the first question from being answered.
pub const PRELUDE: &str = crate::sql::PRELUDE;

/// Opens sessions.
///
/// # Behavior
///
/// - Opens each session for the engine alone: it takes nothing from a pool that the application
///   uses.
/// - Keeps what the user configured for connections: TLS, credentials, set-up hooks.
pub trait Driver: fmt::Debug + Send + Sync + 'static {
    /// A connection to one server session.
    type Session: Session;

    /// Connects.
    ///
    /// # Behavior
    ///
    /// - Connects once: the engine retries, one attempt at a time, with back-off.
    /// - Runs [`PRELUDE`] in the connection, after the user's set-up hooks, if it speaks SQL.
    /// - Reports the server's own reason: an authentication failure or a full server is not a
    ///   time-out.
    /// - Leaves no connection behind when its future is dropped.
    fn connect(&self) -> impl Future<Output = Result<Self::Session, DriverError>> + Send;
}

/// One server session. Locks belong to it: they end when it ends.
///
/// The engine calls one method at a time and never drops a [`run`](Self::run) or [`ask`](Self::ask)
/// future that has begun, except to give the session up. Dropping a session closes its connection
/// at once, without a farewell, from any thread.
pub trait Session: Send + 'static {
    /// Runs one request in one round trip.
    ///
    /// # Behavior
    ///
    /// - Prepares each text once and binds the parameters in their order.
    /// - Runs outside any transaction block, so that the statement commits by itself.
    /// - Never retries and never reconnects: a statement that reached another session would speak
    ///   of locks that are not there.
    /// - Waits as long as the server does: a request to wait for a lock may take for ever. The
    ///   engine ends it by cancelling it at the server.
    ///
    /// # Errors
    ///
    /// [`DriverError::statement`] if the server refused the statement and the session goes on,
    /// [`DriverError::protocol`] if the answer is not one to what was asked, and
    /// [`DriverError::connection`] in every other case.
    fn run(
        &mut self,
        request: &Request,
    ) -> impl Future<Output = Result<Answer, DriverError>> + Send;

    /// Asks one question in one round trip and answers all its rows.
    ///
    /// # Behavior
    ///
    /// - As [`run`](Self::run).
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    fn ask(
        &mut self,
        question: &Question,
    ) -> impl Future<Output = Result<Vec<Row>, DriverError>> + Send;

    /// Completes when the connection has ended, with the reason.
    ///
    /// # Behavior
    ///
    /// - Reads the idle socket, so that an end at the server is told within milliseconds. A client
    ///   that cannot do this may stay pending for ever; losses are then noticed at the next
    ///   request.
    /// - Is cancel safe: the engine drops this future whenever it has a request to run.
    fn closed(&mut self) -> impl Future<Output = DriverError> + Send;

    /// Says farewell to the server and closes the connection.
    ///
    /// # Behavior
    ///
    /// - Returns when the connection is closed; failures on the way are of no interest.
    /// - Need not mind the time: the engine drops the future after five seconds.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// What went wrong in a driver, and whether the session survived it.
///
/// Carries the client's own error; connection settings must not appear in it.
#[derive(Debug)]
pub struct DriverError {
    what: What,
    sqlstate: Option<String>,
    source: Box<dyn StdError + Send + Sync>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Statement,
    Connection,
    Protocol,
    Configuration,
}

/// Why the server refused a statement, as far as the client shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reason {
    /// Somebody cancelled it. A time-out of the server's cannot be it: each session sets its own
    /// to 0.
    Cancelled,
    /// The statement itself is at fault.
    Itself,
    /// The client keeps the SQLSTATE code to itself.
    Unknown,
}

impl DriverError {
    /// The server refused the statement; the session goes on and keeps what it held.
    pub fn statement(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { what: What::Statement, sqlstate: None, source: source.into() }
    }

    /// The connection could not be made, has ended, or is in doubt: the session is over.
    pub fn connection(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { what: What::Connection, sqlstate: None, source: source.into() }
    }

    /// The server's answer is not one to what was asked: the session is over.
    pub fn protocol(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { what: What::Protocol, sqlstate: None, source: source.into() }
    }

    /// The connection settings cannot work: trying again is of no use.
    pub fn configuration(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { what: What::Configuration, sqlstate: None, source: source.into() }
    }

    /// With the SQLSTATE code, where the client shows it. Without one, a refused statement may have
    /// been cancelled: the engine repeats it twice before it reports the error.
    #[must_use]
    pub fn with_sqlstate(self, code: Option<String>) -> Self {
        Self { sqlstate: code, ..self }
    }

    /// Whether the session may be used further.
    pub(crate) fn session_goes_on(&self) -> bool {
        self.what == What::Statement
    }

    pub(crate) fn reason(&self) -> Reason {
        match self.sqlstate.as_deref() {
            Some("57014") => Reason::Cancelled,
            Some(_) => Reason::Itself,
            None => Reason::Unknown,
        }
    }

    /// What the user gets to see if it comes from the question that opens a session. Every
    /// PostgreSQL from 13 on understands that one.
    pub(crate) fn at_open(self) -> Error {
        let code = self.sqlstate.as_deref().unwrap_or_default();
        let is_odd = code.starts_with("42") || matches!(code, "0A000" | "22023");
        match self.classify() {
            (ErrorKind::Driver, _) if is_odd => Error::with_source(
                ErrorKind::UnsupportedServer,
                "the server lacks a function or a setting that locks need: \
                 use PostgreSQL 13 or later, or an engine that has what the cause names",
                self.source,
            ),
            _ => self.into(),
        }
    }

    fn classify(&self) -> (ErrorKind, &'static str) {
        let code = self.sqlstate.as_deref().unwrap_or_default();
        match (code, self.what) {
            ("53200", _) => (
                ErrorKind::LockTableFull,
                "the server's shared lock table is full: hold fewer keys or raise max_locks_per_transaction",
            ),
            ("53300", _) => (
                ErrorKind::TooManyConnections,
                "the server accepts no more connections: raise max_connections or the role's CONNECTION LIMIT",
            ),
            ("40P01", _) => {
                (ErrorKind::Deadlock, "the server ended the wait because it was part of a deadlock")
            }
            ("42501", _) => (
                ErrorKind::PermissionDenied,
                "the role lacks a right that locks need: grant it CONNECT on the database, or EXECUTE on the function that the cause names, \
                 one of the advisory lock functions or of those that open a session",
            ),
            (_, _) if code.starts_with("28") => (
                ErrorKind::PermissionDenied,
                "the server refused the log-in: check user, password and pg_hba.conf",
            ),
            ("26000" | "42P05", _) => (
                ErrorKind::UnsupportedServer,
                "prepared statements of several connections are mixed up, as behind a pooler in transaction or statement mode: \
                 connect to PostgreSQL directly or through a pooler in session mode",
            ),
            ("3D000", _) => (
                ErrorKind::InvalidOptions,
                "the database does not exist: create it or name another one",
            ),
            (_, What::Configuration) => (
                ErrorKind::InvalidOptions,
                "the connection settings cannot work: check the URL and the TLS settings",
            ),
            (_, What::Protocol) => (
                ErrorKind::UnsupportedServer,
                "the server's answer is not one to what was asked, as behind a pooler in transaction or statement mode: \
                 connect to PostgreSQL directly or through a pooler in session mode",
            ),
            (_, What::Connection) => (
                ErrorKind::Connection,
                "the connection to the PostgreSQL server could not be made or broke: check that the server runs and can be reached",
            ),
            (_, What::Statement) => (ErrorKind::Driver, "the server refused the statement"),
        }
    }
}

/// What the user gets to see.
impl From<DriverError> for Error {
    fn from(error: DriverError) -> Self {
        let (kind, message) = error.classify();
        Self::with_source(kind, message, error.source)
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
