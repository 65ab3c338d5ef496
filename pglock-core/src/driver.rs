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

use std::fmt;
use std::future::Future;

pub use entry::{lock_entry, lock_row};
pub use error::DriverError;
pub use error_builder::ErrorBuilder;
pub use hold::Hold;
pub use question::{Fact, Holding, Question, Row, Topic};
pub use request::{Answer, Operation, Request};
pub use statement::{Param, Statement};

pub(crate) use entry::read_lock_row;
pub(crate) use error::Reason;

mod entry;
mod error;
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
