//! Locks in a transaction of sqlx.

use pglock_core::TransactionLocks;
use pglock_core::driver::{DriverError, Row, Statement, Transaction};
use sqlx::{Connection, PgConnection};

use crate::error::driver_error;
use crate::session::bind;

/// Locks that end with a transaction of sqlx: on a `PgTransaction`, and on the `PgConnection` that
/// it derefs to.
pub trait LockInTransaction {
    /// Locks on the connection of this transaction, until it ends.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use pglock_sqlx::LockInTransaction;
    /// # use pglock_sqlx::sqlx::{self, PgPool};
    ///
    /// # async fn pay(pool: PgPool) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut tx = pool.begin().await?;
    /// tx.locks().write("invoice/42").await?;
    /// sqlx::query("UPDATE invoices SET paid = true WHERE id = 42").execute(&mut *tx).await?;
    /// tx.commit().await?; // releases the lock, too
    /// # Ok(())
    /// # }
    /// ```
    fn locks(&mut self) -> TransactionLocks<SqlxTransaction<'_>>;
}

impl LockInTransaction for PgConnection {
    fn locks(&mut self) -> TransactionLocks<SqlxTransaction<'_>> {
        TransactionLocks::new(SqlxTransaction(self))
    }
}

/// The connection of a transaction.
#[derive(Debug)]
pub struct SqlxTransaction<'c>(&'c mut PgConnection);

impl Transaction for SqlxTransaction<'_> {
    fn is_open(&mut self) -> bool {
        self.0.is_in_transaction()
    }

    async fn query(&mut self, statement: Statement<'_>) -> Result<Vec<Row>, DriverError> {
        let query = bind(sqlx::query_as(statement.sql()), &statement).persistent(false);
        query.fetch_all(&mut *self.0).await.map_err(driver_error)
    }

    async fn execute(&mut self, sql: &'static str) -> Result<(), DriverError> {
        sqlx::raw_sql(sql).execute(&mut *self.0).await.map(drop).map_err(driver_error)
    }
}
