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
use std::str::FromStr;
use std::time::Duration;

use pglock_core::driver::{Driver, Transaction};
use pglock_core::{Error, Locks, Mode, NamedKey, Result, TransactionLocks};
use tokio::runtime::Builder;

use crate::postgres::{TestDatabase, TestServer};
use crate::witness::PostgresWitness;

pub mod cases;

/// An error of the client.
pub type ClientError = Box<dyn StdError + Send + Sync>;

/// A connection of the application, made with the adapter's client.
pub trait Client: Sized + Send + 'static {
    /// The driver of the adapter, for guards that fence transactions.
    type Driver: Driver + FromStr<Err = Error>;

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

    /// The locks of the transaction, or of the connection without one, through the adapter.
    fn locks(&mut self) -> impl Future<Output = TransactionLocks<impl Transaction>> + Send;

    /// Takes a lock through the adapter. Returns false if the lock is busy and `patience` is to
    /// try.
    fn lock(
        &mut self,
        key: NamedKey,
        mode: Mode,
        patience: Patience,
    ) -> impl Future<Output = Result<bool>> + Send {
        async move { patience.lock(self.locks().await, key, mode).await }
    }
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
    async fn lock<T: Transaction>(
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
    /// A lock manager of its own: another process.
    fn locks<C: Client>(&self) -> Locks {
        self.locks_at::<C>(self.database.url())
    }

    fn locks_at<C: Client>(&self, url: &str) -> Locks {
        Locks::new(url.parse::<C::Driver>().expect("a URL"))
    }

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
            timeouts_of_the_role_do_not_shorten_a_wait,
            shadow_functions_and_operators_do_not_matter,
            shadow_types_do_not_matter,
            outside_a_transaction_is_refused,
            transaction_begun_by_text_is_refused,
            old_snapshot_is_refused_unless_allowed,
            deadlock_with_rows_is_a_deadlock,
            nested_rollback_releases,
            refused_acquire_can_be_tried_again,
            dropped_wait_leaves_nothing_behind,
            lock_ends_when_its_transaction_fails,
            lock_outlives_a_nested_transaction_that_fails,
            guard_of_a_failed_transaction_is_released,
            connection_comes_back_as_it_was,
            role_with_connect_only_can_lock,
            standby_is_refused,
            locks_work_behind_a_transaction_pooler,
            fence_lets_a_holder_write,
            fence_of_a_lost_lock_is_refused,
            fence_in_another_database_is_refused,
            fence_on_another_server_is_refused,
            fence_after_a_crash_is_refused,
            fence_outside_a_transaction_is_refused,
            fence_at_an_old_snapshot_is_refused_unless_allowed,
            fence_waits_for_that_of_an_earlier_holder,
            fence_that_has_waited_is_refused_if_the_lock_is_lost,
            fence_outlives_the_session_of_its_lock,
            fences_of_readers_share_and_exclude_those_of_writers,
            fenced_lock_is_handed_out_after_the_last_transaction,
            fenced_lock_is_handed_over_after_the_last_transaction,
            fenced_lock_lets_readers_in_after_the_last_transaction,
            fenced_lock_shows_everything_to_an_old_snapshot,
            fenced_lock_names_the_transaction_that_is_in_the_way,
            fences_work_behind_a_transaction_pooler,
            stopped_holder_cannot_write_after_its_successor,
            stale_token_is_refused,
            stale_leader_cannot_write,
            guard_of_either_mode_fences_in_its_mode,
            upgradable_reader_fences_as_a_reader,
            stale_token_waits_for_a_newer_one_and_is_refused,
            token_check_at_an_old_snapshot_says_what_to_do,
            token_check_without_its_table_says_how_to_make_it,
        }
    };
    (@ $client:ty, $($case:ident,)*) => {
        $(#[test]
        fn $case() {
            $crate::transactions::run($crate::transactions::cases::$case::<$client>);
        })*
    };
}
