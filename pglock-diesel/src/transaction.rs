//! Locks in a transaction of diesel-async.

use std::fmt;

use diesel::sql_types::{BigInt, Nullable, Text};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection, TransactionManager};
use pglock_core::TransactionLocks;
use pglock_core::driver::{DriverError, Row, Statement, Transaction};

use crate::error::{driver_error, is_answer};
use crate::session::load;

/// Locks that end with a transaction of diesel-async.
pub trait LockInTransaction {
    /// Locks on this connection, until its transaction ends.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use pglock_diesel::diesel_async::{AsyncConnection, AsyncPgConnection};
    /// use pglock_diesel::{Error, LockInTransaction};
    /// # use pglock_diesel::diesel;
    ///
    /// # #[derive(Debug)] struct Failed;
    /// # impl From<Error> for Failed { fn from(_: Error) -> Self { Self } }
    /// # impl From<diesel::result::Error> for Failed {
    /// #     fn from(_: diesel::result::Error) -> Self { Self }
    /// # }
    /// # async fn pay(connection: &mut AsyncPgConnection) -> Result<(), Failed> {
    /// connection
    ///     .transaction(async |connection| {
    ///         connection.locks().write("invoice/42").await?;
    ///         // … updates …
    ///         Ok::<(), Failed>(())
    ///     })
    ///     .await // the commit releases the lock, too
    /// # }
    /// ```
    fn locks(&mut self) -> TransactionLocks<DieselTransaction<'_>>;
}

impl LockInTransaction for AsyncPgConnection {
    fn locks(&mut self) -> TransactionLocks<DieselTransaction<'_>> {
        TransactionLocks::new(DieselTransaction(self))
    }
}

/// The connection of a transaction.
pub struct DieselTransaction<'c>(&'c mut AsyncPgConnection);

impl Transaction for DieselTransaction<'_> {
    fn is_open(&mut self) -> bool {
        type Manager = <AsyncPgConnection as AsyncConnection>::TransactionManager;
        let status = Manager::transaction_manager_status_mut(self.0);
        matches!(status.transaction_depth(), Ok(Some(_)))
    }

    async fn query(&mut self, statement: Statement<'_>) -> Result<Vec<Row>, DriverError> {
        load::<(BigInt, Nullable<Text>), _>(self.0, statement, false).await.map_err(refusal)
    }

    async fn execute(&mut self, sql: &'static str) -> Result<(), DriverError> {
        self.0.batch_execute(sql).await.map_err(refusal)
    }
}

impl fmt::Debug for DieselTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DieselTransaction").finish_non_exhaustive()
    }
}

fn refusal(error: diesel::result::Error) -> DriverError {
    let goes_on = is_answer(&error);
    driver_error(error.into(), goes_on)
}
