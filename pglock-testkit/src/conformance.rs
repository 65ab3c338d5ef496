//! The checks that every backend passes: one list of cases, run by [`conformance!`](crate::conformance!).
//!
//! A backend is tested by five lines in a file `tests/conformance.rs`:
//!
//! ```ignore
//! struct MyFixture { /* a lock space of its own, and a witness */ }
//!
//! #[async_trait::async_trait]
//! impl pglock_testkit::conformance::Fixture for MyFixture { /* … */ }
//!
//! pglock_testkit::conformance!(MyFixture);
//! ```
//!
//! Each case becomes a `#[test]` with a fixture and a runtime of its own. When it is over, nothing may be left in the lock space: the
//! runner waits until the [`Witness`] sees neither a holder nor a waiter.

// Cases are tests: they end by a panic that says what is wrong.
#![allow(clippy::missing_panics_doc, clippy::unwrap_used)]

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pglock_core::driver::Driver;
use pglock_core::{DistributedRwLock, LockKey, Locks, Result, Stats, WaitStrategy};
use tokio::runtime;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::witness::Witness;

pub mod cases;

/// A lock space under test, and how to make lock managers on it.
#[async_trait]
pub trait Fixture: Send + Sync + 'static {
    /// Makes a lock space that nobody else uses: for PostgreSQL, a new database.
    async fn start() -> Self
    where
        Self: Sized;

    /// Makes a lock manager with connections of its own. To all other managers it is another process.
    fn manager(&self, options: &Options) -> Arc<dyn Manager>;

    /// Who holds and who waits, told by somebody else than the backend.
    fn witness(&self) -> &dyn Witness;
}

/// What the cases need of a lock manager. [`Locks`] has it.
#[async_trait]
pub trait Manager: fmt::Debug + Send + Sync {
    /// The lock on this key.
    fn rwlock(&self, key: LockKey) -> Arc<dyn DistributedRwLock>;

    /// Releases everything and ends all waits.
    async fn close(&self) -> Result<()>;

    /// What the manager is doing.
    fn stats(&self) -> Stats;
}

/// Options of a lock manager that cases set.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// `application_name` of its sessions.
    pub application_name: String,
    /// Bound on sessions that wait in the server's queue.
    pub max_waiting_sessions: usize,
    /// How long sessions that wait are kept idle.
    pub idle_timeout: Duration,
    /// How it waits for locks of other processes.
    pub wait_strategy: WaitStrategy,
    /// Bound on its locks at the server, if not the default.
    pub max_locks: Option<usize>,
    /// Bound on callers that wait, if not the default.
    pub max_waiters: Option<usize>,
    /// Leases of the server and of the guards, if not the default; the heartbeat is a quarter of the latter.
    pub lease: Option<(Duration, Duration)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            application_name: "pglock".to_owned(),
            max_waiting_sessions: 4,
            idle_timeout: Duration::from_secs(30),
            wait_strategy: WaitStrategy::default(),
            max_locks: None,
            max_waiters: None,
            lease: None,
        }
    }
}

impl Options {
    /// A manager of the engine with these options.
    pub fn build<D: Driver>(&self, driver: D) -> Arc<dyn Manager> {
        let mut builder = Locks::<D>::builder(driver)
            .application_name(&*self.application_name)
            .max_waiting_sessions(self.max_waiting_sessions)
            .idle_timeout(self.idle_timeout)
            .wait_strategy(self.wait_strategy);
        if let Some(locks) = self.max_locks {
            builder = builder.max_locks(locks);
        }
        if let Some(waiters) = self.max_waiters {
            builder = builder.max_waiters(waiters);
        }
        if let Some((server, guards)) = self.lease {
            builder = builder.lease(server, guards).heartbeat(guards / 4);
        }
        Arc::new(builder.build().unwrap())
    }
}

#[async_trait]
impl<D: Driver> Manager for Locks<D> {
    fn rwlock(&self, key: LockKey) -> Arc<dyn DistributedRwLock> {
        Arc::new(Self::rwlock(self, key))
    }

    async fn close(&self) -> Result<()> {
        Self::close(self).await
    }

    fn stats(&self) -> Stats {
        Self::stats(self)
    }
}

/// What a case works with: a fixture, and the steps that cases have in common.
#[derive(Clone)]
pub struct Lab {
    fixture: Arc<dyn Fixture>,
}

/// Longer than anything takes that a case waits for.
const PATIENCE: Duration = Duration::from_secs(20);

impl Lab {
    /// A lock manager of its own: another process.
    pub fn manager(&self) -> Arc<dyn Manager> {
        self.manager_with(&Options::default())
    }

    /// A lock manager with options.
    pub fn manager_with(&self, options: &Options) -> Arc<dyn Manager> {
        self.fixture.manager(options)
    }

    /// A lock of a manager of its own.
    pub fn lock(&self, key: impl Into<LockKey>) -> Arc<dyn DistributedRwLock> {
        self.manager().rwlock(key.into())
    }

    /// Who holds and who waits.
    pub fn witness(&self) -> &dyn Witness {
        self.fixture.witness()
    }

    /// Waits until something is so, and gives up loudly.
    pub async fn until(&self, what: &str, reached: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !reached() {
            assert!(Instant::now() < deadline, "not reached: {what}");
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until this many callers wait in the manager.
    pub async fn until_queued(&self, manager: &Arc<dyn Manager>, callers: usize) {
        self.until(&format!("{callers} callers waiting"), || manager.stats().waiting == callers)
            .await;
    }
}

impl fmt::Debug for Lab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lab").finish_non_exhaustive()
    }
}

/// Awaits with a bound, so that a case that hangs says where.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("hangs: {what}"),
    }
}

/// Starts something that may block.
pub fn start<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(future)
}

/// A case's body.
pub type Body = for<'a> fn(&'a Lab) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Runs one case in a fixture and a runtime of its own.
pub fn run<F: Fixture>(body: Body) {
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        let lab = Lab { fixture: Arc::new(F::start().await) };
        timeout(Duration::from_secs(120), body(&lab)).await.expect("the case should end");
        lab.witness().until_quiet().await.expect("nothing should be left");
    });
}

/// Tests a backend, given as a type that implements [`Fixture`].
///
/// Makes one `#[test]` of each case there is.
#[macro_export]
macro_rules! conformance {
    ($fixture:ty) => {
        $crate::__each_case!($crate::__test_case, $fixture);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __test_case {
    ($fixture:ty, $($group:ident: [$($case:ident),* $(,)?]),* $(,)?) => {
        $(mod $group {
            #[allow(unused_imports)]
            use super::*;

            $(#[test]
            fn $case() {
                $crate::conformance::run::<$fixture>(|lab| {
                    Box::pin($crate::conformance::cases::$group::$case(lab))
                });
            })*
        })*
    };
}
