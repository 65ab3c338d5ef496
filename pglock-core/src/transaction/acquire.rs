//! Takes a lock in a transaction: by a try, and then by a wait in slices.

use std::time::{Duration, Instant};

use super::TransactionLocks;
use crate::driver::{DriverError, Param, Statement, Transaction};
use crate::error::{Error, ErrorKind, Result};
use crate::key::well_known::warn_of_tool;
use crate::key::{LockKey, NamedKey};
use crate::mode::Mode;
use crate::sql::transaction as sql;

/// The result of a try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Busy = 0,
    Taken = 1,
    /// The isolation level is above READ COMMITTED.
    OldSnapshot = 2,
    /// The server is a standby, whose locks exclude nothing on the primary.
    Standby = 3,
}

/// How a slice of a wait ended.
enum Slice {
    Taken,
    TimedOut,
}

impl<T: Transaction> TransactionLocks<T> {
    pub(super) async fn try_lock(&mut self, key: NamedKey, mode: Mode) -> Result<bool> {
        warn_of_tool(&key);
        let (key, _) = key.into_parts();
        self.try_once(key, mode).await.map_err(|error| error.for_key(key))
    }

    pub(super) async fn lock(
        &mut self,
        key: NamedKey,
        mode: Mode,
        timeout: Option<Duration>,
    ) -> Result<()> {
        warn_of_tool(&key);
        let (key, _) = key.into_parts();
        self.wait(key, mode, timeout).await.map_err(|error| error.for_key(key))
    }

    pub(super) async fn try_once(&mut self, key: LockKey, mode: Mode) -> Result<bool> {
        let (is_pair, bits) = key.pack();
        let sql = match (mode, is_pair) {
            (Mode::Read, false) => sql::TRY_READ,
            (Mode::Read, true) => sql::TRY_READ_PAIR,
            (Mode::Write, false) => sql::TRY_WRITE,
            (Mode::Write, true) => sql::TRY_WRITE_PAIR,
        };
        let any_isolation = Param::Int8(self.any_isolation.into());
        self.attempt(Statement::new(sql, [Param::Int8(bits), any_isolation])).await
    }

    /// Runs a statement that answers with an [`Outcome`].
    pub(super) async fn attempt(&mut self, statement: Statement<'_>) -> Result<bool> {
        self.ensure_open()?;
        let rows = self.transaction.query(statement).await?;
        match rows.first().and_then(|(outcome, _)| Outcome::read(*outcome)) {
            Some(Outcome::Taken) => Ok(true),
            Some(Outcome::Busy) => Ok(false),
            Some(Outcome::OldSnapshot) => Err(Error::new(
                ErrorKind::InvalidOptions,
                "the transaction is above READ COMMITTED, so it may not see what the previous holder \
                 committed: take a guard before it begins, or call `at_any_isolation` to allow this",
            )),
            Some(Outcome::Standby) => Err(Error::new(
                ErrorKind::UnsupportedServer,
                "the server is a standby, whose locks exclude nothing on the primary: connect to the primary",
            )),
            None => Err(unexpected()),
        }
    }

    pub(super) fn ensure_open(&mut self) -> Result<()> {
        if self.transaction.is_open() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InvalidOptions,
            "no transaction is open, so the lock would end with the statement: begin one with the \
             client's own method, because the client does not notice a BEGIN that is sent as SQL",
        ))
    }

    pub(super) async fn wait(
        &mut self,
        key: LockKey,
        mode: Mode,
        timeout: Option<Duration>,
    ) -> Result<()> {
        let begin = Instant::now();
        if self.try_once(key, mode).await? {
            return Ok(());
        }
        let left = || timeout.map(|timeout| timeout.saturating_sub(begin.elapsed()));
        if left() == Some(Duration::ZERO) {
            return Err(Error::timeout(Vec::new()));
        }
        self.transaction.execute(sql::SAVEPOINT).await?;
        loop {
            let slice = self.wait_for_a_slice(key, mode, left()).await;
            let error = match slice {
                Ok(Slice::Taken) => return Ok(self.transaction.execute(sql::RELEASE).await?),
                Err(error) if !error.session_goes_on() => return Err(error.into()),
                Ok(Slice::TimedOut) => None,
                Err(error) => Some(error.into()),
            };
            self.transaction.execute(sql::ROLL_BACK).await?;
            let is_over = left() == Some(Duration::ZERO);
            if error.is_some() || is_over {
                self.transaction.execute(sql::RELEASE).await?;
                return Err(error.unwrap_or_else(|| Error::timeout(Vec::new())));
            }
        }
    }

    /// Waits in the server's queue until the lock is granted, a deadlock would have been found, or
    /// no time is left.
    async fn wait_for_a_slice(
        &mut self,
        key: LockKey,
        mode: Mode,
        left: Option<Duration>,
    ) -> Result<Slice, DriverError> {
        let rows = self.transaction.query(Statement::new(sql::BEFORE_WAIT, [])).await?;
        let setting = |wanted: i64| {
            let row = rows.iter().find(|(number, _)| *number == wanted);
            row.and_then(|(_, value)| value.as_deref()).unwrap_or("0")
        };
        let deadlock_timeout = setting(3).parse().unwrap_or(1.0_f64).clamp(0.0, 3600.0);
        let slice = Duration::from_secs_f64(deadlock_timeout) + Duration::from_secs(1);
        // The server counts whole milliseconds, and zero means no limit.
        let millis = left.map_or(slice, |left| left.min(slice)).as_millis().max(1);
        let wait = millis.to_string();
        let (is_pair, bits) = key.pack();
        let sql = match (mode, is_pair) {
            (Mode::Read, false) => sql::READ,
            (Mode::Read, true) => sql::READ_PAIR,
            (Mode::Write, false) => sql::WRITE,
            (Mode::Write, true) => sql::WRITE_PAIR,
        };
        let params = [&*wait, setting(1), setting(2)].map(Param::Text);
        let [wait, lock_timeout, statement_timeout] = params;
        let statement =
            Statement::new(sql, [Param::Int8(bits), wait, lock_timeout, statement_timeout]);
        let begin = Instant::now();
        match self.transaction.query(statement).await {
            Ok(_) => Ok(Slice::Taken),
            Err(error) if error.is_lock_timeout(begin.elapsed().as_millis() >= millis) => {
                Ok(Slice::TimedOut)
            }
            Err(error) => Err(error),
        }
    }
}

impl Outcome {
    fn read(digit: i64) -> Option<Self> {
        let all = [Self::Busy, Self::Taken, Self::OldSnapshot, Self::Standby];
        all.into_iter().find(|outcome| *outcome as i64 == digit)
    }
}

fn unexpected() -> Error {
    Error::new(ErrorKind::Driver, "received a reply that does not match the request")
}
