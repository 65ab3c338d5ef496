//! Cases for locks in a transaction of the application, for adapters that offer
//! [`TransactionLocks`]. [`transaction_cases!`](crate::transaction_cases!) runs them.
//!
//! # Examples
//!
//! This is all of an adapter's `tests/transaction.rs`:
//!
//! ```ignore
//! use pglock_testkit::transactions::{Client, Patience};
//!
//! /// A connection of the adapter's client.
//! struct MyClient { /* … */ }
//!
//! impl Client for MyClient { /* connect, begin, commit, roll_back, execute, value, lock */ }
//!
//! pglock_testkit::transaction_cases!(MyClient);
//! ```

use std::error::Error as StdError;
use std::time::Duration;

use pglock_core::driver::Transaction;
use pglock_core::{Mode, NamedKey, Result, TransactionLocks};
use tokio::runtime::Builder;

use crate::postgres::{TestDatabase, TestServer};
use crate::witness::PostgresWitness;

pub mod cases;

/// An error of the client.
pub type ClientError = Box<dyn StdError + Send + Sync>;

/// A connection of the application, made with the adapter's client.
pub trait Client: Sized + Send + 'static {
    /// Connects to the database of this URL. No transaction is open.
    fn connect(url: &str) -> impl Future<Output = Result<Self, ClientError>> + Send;

    /// Begins a transaction, or a nested one inside a transaction.
    fn begin(&mut self) -> impl Future<Output = Result<(), ClientError>> + Send;

    /// Commits the transaction, or the nested one.
    fn commit(&mut self) -> impl Future<Output = Result<(), ClientError>> + Send;

    /// Rolls the transaction back, or the nested one.
    fn roll_back(&mut self) -> impl Future<Output = Result<(), ClientError>> + Send;

    /// Runs SQL without parameters.
    fn execute(&mut self, sql: &str) -> impl Future<Output = Result<(), ClientError>> + Send;

    /// The single value of a query, as text.
    fn value(&mut self, sql: &str) -> impl Future<Output = Result<String, ClientError>> + Send;

    /// Takes a lock through the adapter. Returns false if the lock is busy and `patience` is to
    /// try.
    fn lock(
        &mut self,
        key: NamedKey,
        mode: Mode,
        patience: Patience,
    ) -> impl Future<Output = Result<bool>> + Send;
}

/// Which methods of [`TransactionLocks`] a case calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Patience {
    /// `try_read`, `try_write`.
    Try,
    /// The same, after `at_any_isolation`.
    TryAtAnyIsolation,
    /// `read`, `write`.
    Wait,
    /// `try_read_for`, `try_write_for`.
    WaitFor(Duration),
}

impl Patience {
    /// Does what [`Client::lock`] does, with the adapter's own trait for locks.
    ///
    /// # Errors
    ///
    /// Errors of the lock.
    pub async fn lock<T: Transaction>(
        self,
        mut locks: TransactionLocks<T>,
        key: NamedKey,
        mode: Mode,
    ) -> Result<bool> {
        match (mode, self) {
            (Mode::Read, Self::Try) => locks.try_read(key).await,
            (Mode::Write, Self::Try) => locks.try_write(key).await,
            (Mode::Read, Self::TryAtAnyIsolation) => locks.at_any_isolation().try_read(key).await,
            (Mode::Write, Self::TryAtAnyIsolation) => locks.at_any_isolation().try_write(key).await,
            (Mode::Read, Self::Wait) => locks.read(key).await.map(|()| true),
            (Mode::Write, Self::Wait) => locks.write(key).await.map(|()| true),
            (Mode::Read, Self::WaitFor(time)) => locks.try_read_for(key, time).await.map(|()| true),
            (Mode::Write, Self::WaitFor(time)) => {
                locks.try_write_for(key, time).await.map(|()| true)
            }
        }
    }
}

/// What a case works with: a database of its own.
#[derive(Debug)]
pub struct Site {
    server: TestServer,
    database: TestDatabase,
    witness: PostgresWitness,
}

impl Site {
    async fn new() -> Self {
        let server = TestServer::shared().await.expect("a server to test with");
        let database = server.database().await.expect("a database of its own");
        let witness = PostgresWitness::connect(database.url()).await.expect("a third client");
        Self { server, database, witness }
    }
}

/// Runs one case.
///
/// # Panics
///
/// If the case fails.
pub fn run<F: Future<Output = ()>>(case: impl FnOnce(Site) -> F) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime for the test");
    runtime.block_on(async { case(Site::new().await).await });
}

/// Makes one `#[test]` for each case of locks in a transaction, with this
/// [`Client`](crate::transactions::Client).
#[macro_export]
macro_rules! transaction_cases {
    ($client:ty) => {
        $crate::transaction_cases! {
            @ $client,
            commit_and_rollback_release,
            transactions_and_guards_exclude_each_other,
            readers_share_and_exclude_writers,
            pairs_and_negative_keys_are_keys_of_their_own,
            busy_try_leaves_no_trace,
            timed_out_wait_leaves_no_trace,
            wait_ends_when_the_lock_is_free,
            wait_keeps_the_settings_of_the_transaction,
            statement_timeout_does_not_cut_a_wait,
            outside_a_transaction_is_refused,
            old_snapshot_is_refused_unless_allowed,
            deadlock_with_rows_is_a_deadlock,
            nested_rollback_releases,
            refused_acquire_can_be_tried_again,
            dropped_wait_leaves_nothing_behind,
            role_with_connect_only_can_lock,
            standby_is_refused,
            locks_work_behind_a_transaction_pooler,
        }
    };
    (@ $client:ty, $($case:ident,)*) => {
        $(#[test]
        fn $case() {
            $crate::transactions::run($crate::transactions::cases::$case::<$client>);
        })*
    };
}
