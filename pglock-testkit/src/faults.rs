//! Tools that cause faults.
//!
//! * [`Proxy`]: delays, stalls, holds, cuts and resets traffic between clients and a server.
//! * [`Namespace`]: a separate network that loses packets. Linux and root only.
//! * [`Standby`]: a standby of a private server, which can be promoted.
//! * [`PgBouncer`]: a pooler in front of a server.
//! * [`kill`], [`terminate`], [`Stopped`]: end or stop a process, such as a [`TestProcess`].
//!
//! To end a session, see [`Witness::terminate`](crate::witness::Witness::terminate); to stop, kill
//! and start a server, [`TestServer`](crate::postgres::TestServer).
//!
//! # Examples
//!
//! ```no_run
//! use pglock_testkit::faults::{Direction, FaultError, Namespace, PgBouncer, PoolMode, Proxy, Stopped};
//! use pglock_testkit::postgres::TestServer;
//!
//! # fn connect(_url: &str) {}
//! # async fn tests(server: TestServer) -> Result<(), FaultError> {
//! // A server that accepts connections, and then falls silent.
//! let proxy = Proxy::start(server.url())?;
//! connect(proxy.url());
//! proxy.stall(Direction::ToClient);
//! println!("{} connections hang", proxy.open());
//!
//! // A network that loses what the client sends. The server must listen for it: `LISTEN`.
//! let network = Namespace::new()?;
//! let url = network.url(&server)?;
//! network.run(async move || connect(&url)).await?;
//! network.lose(Direction::ToServer)?;
//!
//! // A pooler in transaction mode.
//! let pooler = PgBouncer::start(&server, PoolMode::Transaction).await?;
//! connect(pooler.url());
//!
//! // A server that does not answer, until the value is dropped.
//! let stopped = Stopped::stop(server.postmaster()?)?;
//! # drop(stopped);
//! # Ok(())
//! # }
//! ```

use std::env;
use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

mod error;
#[cfg(target_os = "linux")]
mod namespace;
#[cfg(not(target_os = "linux"))]
#[path = "faults/no_namespace.rs"]
mod namespace;
#[cfg(unix)]
mod pgbouncer;
#[cfg(unix)]
mod process;
mod proxy;
#[cfg(unix)]
mod signals;
#[cfg(unix)]
mod standby;

pub use self::error::FaultError;
pub use self::namespace::Namespace;
#[cfg(unix)]
pub use self::pgbouncer::{PgBouncer, PoolMode};
#[cfg(unix)]
pub use self::process::TestProcess;
pub use self::proxy::{Direction, Frame, Proxy, ProxyConnection};
#[cfg(unix)]
pub use self::signals::{Stopped, kill, terminate};
#[cfg(unix)]
pub use self::standby::Standby;

/// The longest that a tool waits for anything, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
#[cfg(unix)]
const POLL: Duration = Duration::from_millis(1);

/// Reports on standard error that a test was not run. Unlike `eprintln!`, it prints even where the
/// test harness captures output.
///
/// A test that could not run must not look as if it had passed.
pub fn not_run(test: &str, why: impl Display) {
    // One write, on a line of its own, since other tests print too. If standard error is closed,
    // there is no other way to report it.
    let _ = io::stderr().write_all(format!("\nNOT RUN {test}: {why}\n").as_bytes());
}

/// If set, a test fails if a program that it needs is not installed.
const COMPLETE: &str = "PGLOCK_COMPLETE";

/// Returns a tool of a test, or `None` if it is [not allowed](FaultError::NotAllowed) or
/// [missing](FaultError::Missing). In that case it also reports the test as [not run](not_run).
///
/// With the environment variable `PGLOCK_COMPLETE` set, a missing program is an error. Set it on
/// machines that must run every test.
///
/// ```no_run
/// # async fn case() -> Result<(), Box<dyn std::error::Error>> {
/// use pglock_testkit::faults::{Standby, allowed};
/// use pglock_testkit::postgres::TestServer;
///
/// let primary = TestServer::private().await?;
/// let Some(standby) = allowed("a_test", Standby::of(&primary).await)? else {
///     return Ok(());
/// };
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Every other [`FaultError`].
pub fn allowed<T>(test: &str, tool: Result<T, FaultError>) -> Result<Option<T>, FaultError> {
    match tool {
        Ok(tool) => Ok(Some(tool)),
        Err(why @ FaultError::Missing { .. }) if env::var_os(COMPLETE).is_some() => Err(why),
        Err(why @ (FaultError::NotAllowed { .. } | FaultError::Missing { .. })) => {
            not_run(test, why);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
