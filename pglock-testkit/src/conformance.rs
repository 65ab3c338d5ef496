//! The checks that every backend passes: one list of cases, run by
//! [`conformance!`](crate::conformance!).
//!
//! # Testing an adapter
//!
//! An adapter for a PostgreSQL client needs a driver that is made from a URL, by
//! [`FromStr`](std::str::FromStr). Then this is all of its `tests/conformance.rs`:
//!
//! ```ignore
//! use pglock_testkit::conformance::PostgresFixture;
//!
//! pglock_testkit::conformance!(PostgresFixture<MyDriver>);
//! ```
//!
//! Any other backend says how to make a lock space and lock managers on it, and who can look into
//! it, by a [`Fixture`]:
//!
//! ```ignore
//! struct MyFixture { /* a lock space of its own, and a witness */ }
//!
//! #[async_trait::async_trait]
//! impl pglock_testkit::conformance::Fixture for MyFixture { /* start, manager, witness */ }
//!
//! pglock_testkit::conformance!(MyFixture, lacks: [Postgres, Process]);
//! ```
//!
//! Each case becomes a `#[test]` with a fixture and a runtime of its own. When it is over, nothing
//! may be left in the lock space: the runner waits until the [`Witness`] sees neither a holder nor
//! a waiter.
//!
//! # Time
//!
//! Cases about leases shorten them, and those that look for what is rare do so for seconds. With
//! `PGLOCK_LONG` set, they take the default leases, and minutes.
//!
//! # Powers
//!
//! Some cases need more than a lock space: a [`Power`] each. A fixture without it says so by name,
//! and the tests of these cases are ignored, with the reason, in plain sight of everybody who runs
//! them. A fixture that says nothing runs everything: a power that it then turns out to lack fails
//! the case.

// Cases are tests: they end by a panic that says what is wrong.
#![allow(clippy::missing_panics_doc, clippy::unwrap_used)]

use std::any::TypeId;
use std::collections::BTreeMap;
use std::env;
use std::error::Error as StdError;
use std::fmt::{self, Write as _};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pglock_core::{DistributedRwLock, Error, NamedKey, Result};
use tokio::runtime;
use tokio::sync::{Mutex as AsyncMutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::faults::{self, FaultError};
use crate::witness::Witness;

#[cfg(unix)]
mod busy;
pub mod cases;
mod driver;
mod fixture;
mod latencies;
mod macros;
mod postgres;
mod process;
#[cfg(unix)]
mod turns;

pub use self::driver::{AnyDriver, AnySession};
pub use self::fixture::{Fixture, Manager, Options, Power};
use self::macros::group;
pub use self::postgres::PostgresFixture;
pub use self::process::Process;

/// What a case works with: a fixture, and the steps that cases have in common.
#[derive(Clone)]
pub struct Lab {
    fixture: Arc<dyn Fixture>,
    path: &'static str,
    is_child: bool,
    place: Arc<Mutex<Option<RwLockReadGuard<'static, ()>>>>,
}

/// Shared by the cases that run at the same time.
static MACHINE: RwLock<()> = RwLock::const_new(());

/// Longer than anything takes that a case waits for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Set to anything, cases that measure take the library's own leases instead of shortened ones, and
/// work for minutes instead of seconds.
const LONG: &str = "PGLOCK_LONG";

/// Whether the cases shall take their time.
pub fn is_long() -> bool {
    env::var_os(LONG).is_some()
}

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
    pub fn lock(&self, key: impl Into<NamedKey>) -> Arc<dyn DistributedRwLock> {
        self.manager().lock(key)
    }

    /// A lock manager for the database of a URL.
    ///
    /// # Errors
    ///
    /// If the URL cannot be understood.
    pub fn manager_at(&self, url: &str, options: &Options) -> Result<Arc<dyn Manager>> {
        self.fixture.manager_at(url, options)
    }

    /// A driver for the database of a URL.
    ///
    /// # Errors
    ///
    /// If the URL cannot be understood.
    pub fn driver_at(&self, url: &str) -> Result<Box<dyn AnyDriver>> {
        self.fixture.driver_at(url)
    }

    /// Where other processes find the lock space. Part of [`Power::Process`].
    pub fn address(&self) -> String {
        self.fixture.address()
    }

    /// The name of the test, as the test harness knows it.
    fn test(&self) -> &'static str {
        // Without the name of the crate.
        self.path.split_once("::").unwrap().1
    }

    /// Waits until no other case of this test binary runs, and keeps them from it: for those that
    /// measure what others would spoil, or would spoil what others measure.
    pub async fn alone(&self) -> Alone {
        drop(self.place.lock().unwrap().take());
        Alone { _machine: MACHINE.write().await }
    }

    /// Who holds and who waits.
    pub fn witness(&self) -> &dyn Witness {
        self.fixture.witness()
    }

    /// Whether the server of the lock space ends sessions that fall silent: PostgreSQL does from
    /// version 14 on.
    pub async fn has_lease(&self) -> bool {
        self.fixture.has_lease().await
    }

    /// Says that the case was not run, in plain sight of everybody who runs it.
    pub fn not_run(&self, why: impl fmt::Display) {
        faults::not_run(self.path, why);
    }

    /// What a case works with, or `None` and a line that says why the case was not run.
    ///
    /// # Errors
    ///
    /// If the tool is allowed but does not work.
    pub fn allowed<T>(
        &self,
        tool: Result<T, FaultError>,
    ) -> std::result::Result<Option<T>, FaultError> {
        faults::allowed(self.path, tool)
    }

    /// Waits until something is so, and gives up loudly.
    pub async fn until(&self, what: &str, reached: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !reached() {
            assert!(Instant::now() < deadline, "not reached: {what}");
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Ends all sessions of managers that have the default name.
    pub async fn end_sessions(&self) {
        for pid in self.witness().sessions("pglock").await.unwrap() {
            self.witness().terminate(pid).await.unwrap();
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

/// A case that has the machine to itself, until this is dropped.
#[derive(Debug)]
#[must_use = "others run when this is dropped"]
pub struct Alone {
    _machine: RwLockWriteGuard<'static, ()>,
}

/// Awaits with a bound, so that a case that hangs says where.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let patience = if is_long() { PATIENCE * 3 } else { PATIENCE };
    match timeout(patience, future).await {
        Ok(value) => value,
        Err(_) => panic!("hangs: {what}"),
    }
}

/// Starts something that may block.
pub fn start<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(future)
}

/// All that an error shows of itself and its causes, in which no password may be.
pub fn shown(error: &Error) -> String {
    let mut text = String::new();
    let mut link: Option<&dyn StdError> = Some(error);
    while let Some(error) = link {
        writeln!(text, "{error}\n{error:?}\n{error:#?}").unwrap();
        link = error.source();
    }
    text
}

/// A case's body.
pub type Body = for<'a> fn(&'a Lab) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Runs one case in a fixture and a runtime of its own. `path` is the one of its test.
pub fn run<F: Fixture>(path: &'static str, body: Body) {
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        let parent = process::parent();
        if parent.is_none() && !is_available::<F>(path).await {
            return;
        }
        let fixture = match &parent {
            Some(address) => F::join(address).await,
            None => F::start().await,
        };
        let place = Arc::new(Mutex::new(Some(MACHINE.read().await)));
        let lab = Lab { fixture: Arc::new(fixture), path, is_child: parent.is_some(), place };
        let bound = Duration::from_secs(if is_long() { 3600 } else { 180 });
        timeout(bound, body(&lab)).await.expect("the case should end");
        if !lab.is_child {
            lab.witness().until_quiet().await.expect("nothing should be left");
        }
    });
}

/// Whether the cases of a fixture can be run. If not, the first one fails, with the reason, and all
/// others say that they were not run: a hundred times the same reason would hide all else.
async fn is_available<F: Fixture>(path: &str) -> bool {
    static KNOWN: AsyncMutex<BTreeMap<TypeId, bool>> = AsyncMutex::const_new(BTreeMap::new());
    let mut known = KNOWN.lock().await;
    match known.get(&TypeId::of::<F>()) {
        Some(true) => true,
        Some(false) => {
            faults::not_run(path, "there is no server, as the case that failed says");
            false
        }
        None => {
            let found = F::available().await;
            known.insert(TypeId::of::<F>(), found.is_ok());
            found.map_or_else(|why| panic!("{why:?}"), |()| true)
        }
    }
}
