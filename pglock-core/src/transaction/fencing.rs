//! The statements of fences and tokens in a transaction of the application.

use std::time::Duration;

use super::TransactionLocks;
use crate::driver::{DriverError, Fact, Param, Statement, Transaction};
use crate::error::{Error, ErrorKind, Result};
use crate::key::LockKey;
use crate::mode::Mode;
use crate::sql::{SHOW_TOKEN, transaction as sql};
use crate::token::FencingToken;

impl<T: Transaction> TransactionLocks<T> {
    /// Takes the gate and then the mark. False if the gate is not free.
    pub(crate) async fn take_gate(
        &mut self,
        gate: LockKey,
        mode: Mode,
        mark: LockKey,
    ) -> Result<bool> {
        let sql = match mode {
            Mode::Read => sql::FENCE_READ,
            Mode::Write => sql::FENCE_WRITE,
        };
        let [(_, gate), (_, mark)] = [gate, mark].map(LockKey::pack);
        let params = [gate, self.any_isolation.into(), mark].map(Param::Int8);
        self.attempt(Statement::new(sql, params)).await
    }

    /// As [`take_gate`](Self::take_gate), but waits for the gate, up to `timeout`.
    pub(crate) async fn wait_at_gate(
        &mut self,
        gate: LockKey,
        mode: Mode,
        mark: LockKey,
        timeout: Duration,
    ) -> Result<bool> {
        match self.wait(gate, mode, Some(timeout)).await {
            Ok(()) => self.take_gate(gate, mode, mark).await,
            Err(error) if error.kind() == ErrorKind::Timeout => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The system and the database in which the transaction runs, as sessions report them.
    pub(crate) async fn identity(&mut self) -> Result<(i64, i64)> {
        let facts = self.transaction.query(Statement::new(sql::IDENTITY, [])).await?;
        let fact = |fact: Fact| fact.find(&facts).unwrap_or_default();
        Ok((fact(Fact::System), fact(Fact::Database)))
    }

    /// Refuses a stale token, in a transaction that writes to another database than that of the
    /// lock.
    ///
    /// One statement records the token as the highest of `resource`, a name of your choice, in the
    /// table that [`FencingToken::TABLE`] creates. If it finds a higher one there, the call fails.
    /// It locks the row of the resource until the transaction ends, so transactions of a later
    /// holder wait.
    ///
    /// # Cancel safety
    ///
    /// If this future is dropped, roll the transaction back.
    ///
    /// # Errors
    ///
    /// [`Lost`](ErrorKind::Lost) if a later holder has shown its token: roll the transaction back.
    /// [`InvalidOptions`](ErrorKind::InvalidOptions) outside a transaction, or without the table.
    /// Above READ COMMITTED, a serialization failure, of the kind [`Driver`](ErrorKind::Driver), if
    /// another transaction has recorded a token since this one took its snapshot: repeat it.
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::driver::Transaction;
    /// use pglock_core::{Result, TransactionLocks, WriteGuard};
    ///
    /// /// `locks` is `tx.locks()`, of a transaction in the other database.
    /// async fn begin_write<T: Transaction>(
    ///     guard: &WriteGuard,
    ///     mut locks: TransactionLocks<T>,
    /// ) -> Result<()> {
    ///     let token = guard.fencing_token().await?;
    ///     locks.check_token(token, "invoices").await
    /// }
    /// ```
    pub async fn check_token(&mut self, token: FencingToken, resource: &str) -> Result<()> {
        self.ensure_open()?;
        let params = [Param::Text(resource), Param::Int8(token.into())];
        let shown = self.transaction.query(Statement::new(SHOW_TOKEN, params)).await;
        let shown = shown.map_err(DriverError::at_token_check)?;
        if shown.is_empty() {
            return Err(Error::new(
                ErrorKind::Lost,
                "the lock was lost: a later holder has shown its fencing token to this resource",
            ));
        }
        Ok(())
    }
}
