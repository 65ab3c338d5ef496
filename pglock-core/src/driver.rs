//! The interface that a backend implements: open a session, and run statements in it.
//!
//! The engine decides *what* to send to the server and when; a driver only knows *how*. An adapter
//! over an SQL client binds [`Statement::params`] to [`Statement::sql`] and returns the rows; it
//! contains no SQL and no lock logic. A backend that is not PostgreSQL reads
//! [`Request::to_operations`] and [`Question::topic`], carries them out, and returns the same
//! answers; a [`LockTable`] keeps locks by the same rules.
//!
//! A backend that does without the engine implements
//! [`DistributedRwLock`](crate::DistributedRwLock). It makes its guards from a [`Hold`] and its
//! errors with an [`ErrorBuilder`].

use std::fmt;
use std::future::Future;

pub use entry::{lock_entry, lock_row};
pub use error::DriverError;
pub use error_builder::ErrorBuilder;
pub use hold::Hold;
pub use lock_table::LockTable;
pub use question::{Fact, Holding, Question, Row, Topic};
pub use request::{Answer, Operation, Request};
pub use statement::{Param, Statement};
pub use transaction::Transaction;

pub use crate::lease::LeaseState;

pub(crate) use entry::read_lock_row;
pub(crate) use error::Reason;

mod entry;
mod error;
mod error_builder;
mod hold;
mod lock_table;
mod question;
mod request;
mod statement;
mod transaction;

/// What an adapter over an SQL client runs first in each session: several statements in one text,
/// without parameters or rows, for the simple query protocol.
///
/// Without it, settings of the role can block even the first question.
pub const PRELUDE: &str = crate::sql::PRELUDE;

/// Opens sessions.
///
/// # Behavior
///
/// - Opens each session for the engine alone: takes no connection from a pool that the application
///   uses.
/// - Keeps the user's configuration of connections: TLS, credentials, set-up hooks.
pub trait Driver: fmt::Debug + Send + Sync + 'static {
    /// A connection to one server session.
    type Session: Session;

    /// Connects.
    ///
    /// # Behavior
    ///
    /// - Makes one attempt: the engine retries, one attempt at a time, with back-off.
    /// - Runs [`PRELUDE`] in the connection, after the user's set-up hooks, if it speaks SQL.
    /// - Reports the server's own reason: an authentication failure or a full server must not look
    ///   like a timeout.
    /// - Leaves no connection behind when its future is dropped.
    fn connect(&self) -> impl Future<Output = Result<Self::Session, DriverError>> + Send;
}

/// One server session. The locks taken in it end when it ends.
///
/// The engine calls one method at a time and never drops a [`run`](Self::run) or [`ask`](Self::ask)
/// future that has begun, except to give up the session. The engine may drop a session on any
/// thread; that closes its connection at once, without saying goodbye to the server.
pub trait Session: Send + 'static {
    /// Runs one request in one round trip.
    ///
    /// # Behavior
    ///
    /// - Prepares each text once and binds the parameters in their order.
    /// - Runs outside any transaction block, so that the statement commits on its own.
    /// - Never retries and never reconnects: another session does not have the locks that the
    ///   statement is about.
    /// - Sets no timeout: a request that waits for a lock may take for ever. To end it, the engine
    ///   cancels it at the server.
    ///
    /// # Errors
    ///
    /// [`DriverError::statement`] if the server refused the statement and the session lives,
    /// [`DriverError::protocol`] if the answer does not match the request, and
    /// [`DriverError::connection`] in every other case.
    fn run(
        &mut self,
        request: &Request,
    ) -> impl Future<Output = Result<Answer, DriverError>> + Send;

    /// Asks one question in one round trip and returns all rows of the answer.
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
    /// - Reads the idle socket, so that the engine learns within milliseconds that the server has
    ///   ended the session. If the client cannot do this, the future may stay pending for ever; the
    ///   engine then notices the end at its next request.
    /// - Is cancel safe: the engine drops this future whenever it has a request to run.
    fn closed(&mut self) -> impl Future<Output = DriverError> + Send;

    /// Says goodbye to the server and closes the connection.
    ///
    /// # Behavior
    ///
    /// - Returns when the connection is closed, and ignores failures on the way.
    /// - Sets no timeout: the engine drops the future after five seconds.
    fn close(self) -> impl Future<Output = ()> + Send;
}
