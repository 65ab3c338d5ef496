//! The cases that every backend passes: one list, run by [`conformance!`](crate::conformance!).
//!
//! # Testing an adapter
//!
//! An adapter for a PostgreSQL client needs a driver that can be made from a URL
//! ([`FromStr`](std::str::FromStr)). Then this is all of its `tests/conformance.rs`:
//!
//! ```ignore
//! use pglock_testkit::conformance::PostgresFixture;
//!
//! pglock_testkit::conformance!(PostgresFixture<MyDriver>);
//! ```
//!
//! Any other backend implements a [`Fixture`], which makes a lock space, lock managers on it, and a
//! witness that looks into it:
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
//! Each case becomes a `#[test]` with its own fixture and runtime. At its end, the lock space must
//! be empty: the runner waits until the [`Witness`] sees neither holders nor waiters.
//!
//! # Time
//!
//! Cases about leases use shortened leases, and cases that look for rare events run for seconds.
//! With `PGLOCK_LONG` set, they use the default leases and run for minutes.
//!
//! # Powers
//!
//! Some cases need more than a lock space; each such need is a [`Power`]. A fixture names the
//! powers that it lacks, and the tests of these cases are then ignored, with the reason shown in
//! the output. If a fixture lacks a power and does not name it, the cases that need it fail.

// Cases are tests: they fail by panicking, and the panic says what is wrong.
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

/// Longer than any event that a case waits for.
const PATIENCE: Duration = Duration::from_secs(20);

/// If set, cases that measure use the default leases instead of shortened ones, and run for minutes
/// instead of seconds.
const LONG: &str = "PGLOCK_LONG";

/// Whether cases run for minutes.
pub fn is_long() -> bool {
    env::var_os(LONG).is_some()
}

impl Lab {
    /// A lock manager that acts as another process.
    pub fn manager(&self) -> Arc<dyn Manager> {
        self.manager_with(&Options::default())
    }

    /// A lock manager with options.
    pub fn manager_with(&self, options: &Options) -> Arc<dyn Manager> {
        self.fixture.manager(options)
    }

    /// A lock of a new manager.
    pub fn lock(&self, key: impl Into<NamedKey>) -> Arc<dyn DistributedRwLock> {
        self.manager().lock(key)
    }

    /// A lock manager for the database of a URL.
    ///
    /// # Errors
    ///
    /// If the URL is invalid.
    pub fn manager_at(&self, url: &str, options: &Options) -> Result<Arc<dyn Manager>> {
        self.fixture.manager_at(url, options)
    }

    /// A driver for the database of a URL.
    ///
    /// # Errors
    ///
    /// If the URL is invalid.
    pub fn driver_at(&self, url: &str) -> Result<Box<dyn AnyDriver>> {
        self.fixture.driver_at(url)
    }

    /// The address by which other processes find the lock space. Part of [`Power::Process`].
    pub fn address(&self) -> String {
        self.fixture.address()
    }

    /// The name of the test in the test harness.
    fn test(&self) -> &'static str {
        // Without the name of the crate.
        self.path.split_once("::").unwrap().1
    }

    /// Waits until no other case of this test binary runs, and blocks new ones. For cases that
    /// measure something that others would disturb, or that would disturb the measurements of
    /// others.
    pub async fn alone(&self) -> Alone {
        drop(self.place.lock().unwrap().take());
        Alone { _machine: MACHINE.write().await }
    }

    /// Shows who holds and who waits.
    pub fn witness(&self) -> &dyn Witness {
        self.fixture.witness()
    }

    /// Whether the server of the lock space ends silent sessions: PostgreSQL does so from version
    /// 14 on.
    pub async fn has_lease(&self) -> bool {
        self.fixture.has_lease().await
    }

    /// Reports that the case was not run, even where the test harness captures output.
    pub fn not_run(&self, why: impl fmt::Display) {
        faults::not_run(self.path, why);
    }

    /// Returns what a case works with, or `None` after reporting that the case was not run, and
    /// why.
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

    /// Waits until a condition holds, and panics if that takes too long.
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

/// Gives a case the machine to itself until dropped.
#[derive(Debug)]
#[must_use = "others run when this is dropped"]
pub struct Alone {
    _machine: RwLockWriteGuard<'static, ()>,
}

/// Awaits up to a limit, so that a hanging case reports where it hangs.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let patience = if is_long() { PATIENCE * 3 } else { PATIENCE };
    match timeout(patience, future).await {
        Ok(value) => value,
        Err(_) => panic!("hangs: {what}"),
    }
}

/// Runs something that may block.
pub fn start<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(future)
}

/// Every text of an error and its causes. None may contain a password.
pub fn shown(error: &Error) -> String {
    let mut text = String::new();
    let mut link: Option<&dyn StdError> = Some(error);
    while let Some(error) = link {
        writeln!(text, "{error}\n{error:?}\n{error:#?}").unwrap();
        link = error.source();
    }
    text
}

/// The body of a case.
pub type Body = for<'a> fn(&'a Lab) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Runs one case in its own fixture and runtime. `path` is the path of its test.
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

/// Whether the cases of a fixture can run. If not, the first one fails with the reason, and all
/// others report that they were not run: repeating the reason for each would hide everything else.
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
