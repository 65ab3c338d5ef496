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
//!
//! # An adapter over an SQL client
//!
//! This is a whole adapter; only `client`, the SQL client, is left out:
//!
//! ```
//! use pglock_core::driver::{
//!     Answer, Driver, DriverError, PRELUDE, Param, Question, Request, Row, Session, Statement,
//! };
//! # mod client {
//! #     #[derive(Debug, PartialEq)]
//! #     pub enum Severity { Error, Fatal }
//! #     #[derive(Debug)]
//! #     pub struct Error { pub sqlstate: Option<String>, pub severity: Option<Severity> }
//! #     impl std::fmt::Display for Error {
//! #         fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write!(f, "failed") }
//! #     }
//! #     impl std::error::Error for Error {}
//! #     pub struct Row;
//! #     impl Row {
//! #         pub fn text(&self, _: usize) -> Option<String> { None }
//! #         pub fn int8(&self, _: usize) -> i64 { 0 }
//! #     }
//! #     pub struct Value;
//! #     impl Value { pub fn new<T>(_: T) -> Self { Self } }
//! #     pub struct Client;
//! #     impl Client {
//! #         pub async fn connect(_: &str) -> Result<Self, Error> { Ok(Self) }
//! #         pub async fn simple_query(&mut self, _: &str) -> Result<(), Error> { Ok(()) }
//! #         pub async fn query(&mut self, _: &str, _: Vec<Value>) -> Result<Vec<Row>, Error> {
//! #             Ok(Vec::new())
//! #         }
//! #         pub async fn until_closed(&mut self) -> Error { std::future::pending().await }
//! #         pub async fn close(self) {}
//! #     }
//! # }
//! use client::{Client, Severity, Value};
//!
//! #[derive(Debug)]
//! struct MyDriver {
//!     host: String,
//! }
//!
//! impl Driver for MyDriver {
//!     type Session = MySession;
//!
//!     async fn connect(&self) -> Result<MySession, DriverError> {
//!         let mut client = Client::connect(&self.host).await.map_err(driver_error)?;
//!         client.simple_query(PRELUDE).await.map_err(driver_error)?;
//!         Ok(MySession { client })
//!     }
//! }
//!
//! struct MySession {
//!     client: Client,
//! }
//!
//! impl Session for MySession {
//!     async fn run(&mut self, request: &Request) -> Result<Answer, DriverError> {
//!         let rows = self.query(request.statement()).await?;
//!         Ok(rows.first().and_then(|row| row.text(0)).into())
//!     }
//!
//!     async fn ask(&mut self, question: &Question) -> Result<Vec<Row>, DriverError> {
//!         let rows = self.query(question.statement()).await?;
//!         Ok(rows.iter().map(|row| (row.int8(0), row.text(1))).collect())
//!     }
//!
//!     async fn closed(&mut self) -> DriverError {
//!         driver_error(self.client.until_closed().await)
//!     }
//!
//!     async fn close(self) {
//!         self.client.close().await;
//!     }
//! }
//!
//! impl MySession {
//!     async fn query(&mut self, statement: Statement<'_>) -> Result<Vec<client::Row>, DriverError> {
//!         let value = |param| match param {
//!             Param::Int8(value) => Value::new(value),
//!             Param::Text(value) => Value::new(value),
//!             Param::Int2Array(values) => Value::new(values),
//!             Param::Int8Array(values) => Value::new(values),
//!         };
//!         let values = statement.params().map(value).collect();
//!         // Prepares each text once.
//!         self.client.query(statement.sql(), values).await.map_err(driver_error)
//!     }
//! }
//!
//! /// What matters is whether the session survived.
//! fn driver_error(error: client::Error) -> DriverError {
//!     let sqlstate = error.sqlstate.clone();
//!     let error = match error.severity {
//!         Some(Severity::Error) => DriverError::statement(error),
//!         _ => DriverError::connection(error),
//!     };
//!     error.with_sqlstate(sqlstate)
//! }
//! ```
//!
//! # A backend that is not PostgreSQL
//!
//! Its [`Session`] answers in these ways. `pglock_testkit::memory` is a complete one.
//!
//! ```
//! use pglock_core::driver::{
//!     Answer, DriverError, Fact, Holding, LockTable, Operation, Question, Request, Row, Topic,
//!     lock_entry, lock_row,
//! };
//! use pglock_core::{LockEntry, Mode};
//!
//! struct MySession {
//!     pid: i32,
//!     nonce: String, // that of the first question
//! }
//!
//! impl MySession {
//!     fn run(&self, table: &mut LockTable, request: &Request) -> Answer {
//!         if request.nonce() != self.nonce {
//!             return Answer::from(None); // for another session
//!         }
//!         let carry_out = |operation| match operation {
//!             Operation::TryLock(key, mode) => table.try_lock(self.pid, key, mode),
//!             Operation::Unlock(key, mode) => table.unlock(self.pid, key, mode).is_some(),
//!             // … and the others …
//! #           _ => true,
//!         };
//!         request.to_operations().map(carry_out).collect()
//!     }
//!
//!     fn ask(&mut self, table: &LockTable, question: &Question) -> Result<Vec<Row>, DriverError> {
//!         Ok(match question.topic() {
//!             Topic::Open => {
//!                 self.nonce = question.nonce().to_owned();
//!                 println!("{:?} has connected", question.application_name());
//!                 let facts = [
//!                     (Fact::Pid, self.pid.into()),
//!                     (Fact::Version, 180_000),
//!                     (Fact::InRecovery, 0),
//!                     (Fact::EarlierSession, 0),
//!                     (Fact::CanCancel, 1),
//!                 ];
//!                 facts.map(|(fact, value)| fact.to_row(value)).into()
//!             }
//!             Topic::Holdings => {
//!                 let held = table.holdings(self.pid).map(Holding::to_row);
//!                 [(1, None)].into_iter().chain(held).collect()
//!             }
//!             Topic::Locks(key) => table.entries(key).iter().map(lock_row).collect(),
//!             Topic::Database => vec![(0, Some("memory".to_owned()))],
//!             _ => return Err(DriverError::statement("unknown question")),
//!         })
//!     }
//! }
//!
//! /// An entry, for a backend with a table of its own.
//! fn writer(key: i64, pid: i32) -> LockEntry {
//!     lock_entry(Holding { key: key.into(), mode: Mode::Write }, true, pid)
//! }
//! ```

use std::fmt;
use std::future::Future;

pub use entry::{lock_entry, lock_row};
pub use error::DriverError;
pub use error_builder::ErrorBuilder;
pub use hold::Hold;
pub use lock_table::LockTable;
pub use question::{Fact, Holding, Question, Row, Topic};
pub use request::{Answer, Operation, Request};
pub use slots::SlotStatement;
pub use statement::{Param, Statement};
pub use transaction::Transaction;

pub use crate::lease::LeaseState;

pub(crate) use entry::read_lock_row;
pub(crate) use error::Reason;
pub(crate) use question::read_token;

mod entry;
mod error;
mod error_builder;
mod hold;
mod lock_table;
mod question;
mod request;
mod slots;
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
    /// The same as for [`run`](Self::run).
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
