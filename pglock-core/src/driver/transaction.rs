//! The interface that an adapter implements so that locks can be taken in a transaction of the
//! application.

use std::future::Future;

use super::{DriverError, Row, Statement};

/// A connection of the application, in a transaction.
///
/// # Behavior
///
/// - Runs every statement on this one connection.
/// - Caches no prepared statement, so that locks also work behind a pooler in transaction mode.
///
/// # Examples
///
/// ```
/// use pglock_core::TransactionLocks;
/// use pglock_core::driver::{DriverError, Row, Statement, Transaction};
///
/// # struct Tx;
/// # impl Tx {
/// #     fn is_open(&self) -> bool { true }
/// #     async fn query_unnamed(&mut self, _: Statement<'_>) -> Result<Vec<Row>, DriverError> {
/// #         Ok(Vec::new())
/// #     }
/// #     async fn simple_query(&mut self, _: &str) -> Result<(), DriverError> { Ok(()) }
/// # }
/// /// `Tx` is the transaction of an SQL client.
/// struct MyTransaction<'t>(&'t mut Tx);
///
/// impl Transaction for MyTransaction<'_> {
///     fn is_open(&mut self) -> bool {
///         self.0.is_open()
///     }
///
///     async fn query(&mut self, statement: Statement<'_>) -> Result<Vec<Row>, DriverError> {
///         self.0.query_unnamed(statement).await
///     }
///
///     async fn execute(&mut self, sql: &'static str) -> Result<(), DriverError> {
///         self.0.simple_query(sql).await
///     }
/// }
///
/// fn locks(tx: &mut Tx) -> TransactionLocks<MyTransaction<'_>> {
///     TransactionLocks::new(MyTransaction(tx))
/// }
/// ```
pub trait Transaction: Send {
    /// Whether a transaction is open, as far as the client knows.
    fn is_open(&mut self) -> bool;

    /// Runs a statement with its parameters and returns all its rows.
    ///
    /// # Errors
    ///
    /// [`DriverError::statement`] if the server refused the statement and the connection remains
    /// usable, [`DriverError::connection`] in every other case.
    fn query(
        &mut self,
        statement: Statement<'_>,
    ) -> impl Future<Output = Result<Vec<Row>, DriverError>> + Send;

    /// Runs statements that have neither parameters nor rows, by the simple query protocol.
    ///
    /// # Errors
    ///
    /// The same as for [`query`](Self::query).
    fn execute(
        &mut self,
        sql: &'static str,
    ) -> impl Future<Output = Result<(), DriverError>> + Send;
}
