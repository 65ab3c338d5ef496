//! What an adapter implements so that locks can be taken in a transaction of the application.

use std::future::Future;

use super::{DriverError, Row, Statement};

/// A connection of the application, in a transaction.
///
/// # Behavior
///
/// - Runs every statement on this one connection.
/// - Caches no prepared statement, so that locks also work behind a pooler in transaction mode.
pub trait Transaction: Send {
    /// Whether a transaction is open, as far as the client knows.
    fn is_open(&mut self) -> bool;

    /// Runs a statement with its parameters and returns all its rows.
    ///
    /// # Errors
    ///
    /// [`DriverError::statement`] if the server refused the statement and the connection can be
    /// used further, [`DriverError::connection`] in every other case.
    fn query(
        &mut self,
        statement: Statement<'_>,
    ) -> impl Future<Output = Result<Vec<Row>, DriverError>> + Send;

    /// Runs statements that have neither parameters nor rows, by the simple query protocol.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    fn execute(
        &mut self,
        sql: &'static str,
    ) -> impl Future<Output = Result<(), DriverError>> + Send;
}
