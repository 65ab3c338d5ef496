//! How lock sessions connect over diesel-async.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;

use diesel::connection::CacheSize;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use futures_util::future::BoxFuture;
use pglock_core::driver::{Driver, DriverError, PRELUDE};
use pglock_core::{Error, Result};
use tokio_postgres::{Config, NoTls};

use crate::error::driver_error;
#[cfg(any(feature = "bb8", feature = "deadpool", feature = "mobc"))]
use crate::pool::Pool;
use crate::session::DieselSession;
use crate::url;

type BoxError = Box<dyn StdError + Send + Sync>;

/// Opens lock sessions over diesel-async: what [`Locks::new`](pglock_core::Locks::new) takes.
///
/// # Behavior
///
/// - Connects as the pool or the function does: keeps TLS, credentials and `custom_setup`. Connects
///   to a URL, or with options, without TLS.
/// - Keeps each connection for itself, outside any pool.
/// - Turns on the cache of prepared statements in its connections, even if the setup has turned it
///   off.
#[derive(Clone)]
pub struct DieselDriver {
    source: Source,
}

#[derive(Clone)]
enum Source {
    Options(Arc<Config>),
    Function(
        Arc<dyn Fn() -> BoxFuture<'static, Result<AsyncPgConnection, BoxError>> + Send + Sync>,
    ),
}

impl DieselDriver {
    /// Connects as this pool does, including its `custom_setup`, but outside the pool.
    ///
    /// It never takes a connection from the pool. Only with mobc, which offers no other way, each
    /// connection needs a free place in the pool for a moment. Hooks that deadpool itself runs,
    /// such as `post_create`, do not run.
    ///
    /// The driver keeps a handle to the pool, because it connects with the pool's manager.
    ///
    /// # Examples
    ///
    #[cfg_attr(feature = "bb8", doc = "```no_run")]
    #[cfg_attr(not(feature = "bb8"), doc = "```ignore")]
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use pglock_diesel::diesel_async::AsyncPgConnection;
    /// use pglock_diesel::diesel_async::pooled_connection::AsyncDieselConnectionManager;
    /// use pglock_diesel::diesel_async::pooled_connection::bb8::Pool;
    /// use pglock_diesel::{DieselDriver, Locks};
    ///
    /// let url = "postgres://localhost/app";
    /// let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new(url);
    /// let pool = Pool::builder().build(manager).await?;
    /// let locks = Locks::new(DieselDriver::from_pool(&pool));
    /// # drop(locks);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(any(feature = "bb8", feature = "deadpool", feature = "mobc"))]
    pub fn from_pool(pool: &impl Pool) -> Self {
        pool.driver()
    }

    /// Connects with these options, without TLS.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use pglock_diesel::tokio_postgres::Config;
    /// use pglock_diesel::{DieselDriver, Locks};
    ///
    /// let mut options = Config::new();
    /// options.host("db.example.com").dbname("app");
    /// let locks = Locks::new(DieselDriver::from_options(options));
    /// # drop(locks);
    /// ```
    pub fn from_options(options: Config) -> Self {
        Self { source: Source::Options(Arc::new(options)) }
    }

    /// Connects to the server of this URL, without TLS. Does no I/O.
    ///
    /// It keeps TCP options in the URL, such as `keepalives_idle` and `tcp_user_timeout`.
    ///
    /// # Errors
    ///
    /// [`InvalidOptions`](pglock_core::ErrorKind::InvalidOptions) if the URL cannot be read. The
    /// error names an unknown parameter, and shows neither the URL nor a value.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn main() -> pglock_diesel::Result<()> {
    /// use pglock_diesel::{DieselDriver, Locks};
    ///
    /// let locks = Locks::new(DieselDriver::from_url("postgres://localhost/app")?);
    /// # drop(locks);
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_url(url: &str) -> Result<Self> {
        Ok(url::read(url).map(Self::from_options)?)
    }

    /// Connects with this function, which must make a new connection each time.
    ///
    /// A connection made by [`AsyncPgConnection::try_from`] does not read its own socket, so its
    /// end shows only at the next request. A connection made by
    /// [`AsyncPgConnection::try_from_client_and_connection`] or `establish` shows it within
    /// milliseconds.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use pglock_diesel::diesel_async::{AsyncConnection, AsyncPgConnection};
    /// use pglock_diesel::{DieselDriver, Locks};
    ///
    /// let connect = || AsyncPgConnection::establish("postgres://localhost/app");
    /// let locks = Locks::new(DieselDriver::from_fn(connect));
    /// # drop(locks);
    /// ```
    pub fn from_fn<F, C, E>(connect: F) -> Self
    where
        F: Fn() -> C + Send + Sync + 'static,
        C: Future<Output = Result<AsyncPgConnection, E>> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let connect = move || -> BoxFuture<'static, _> {
            let connection = connect();
            Box::pin(async { connection.await.map_err(E::into) })
        };
        Self { source: Source::Function(Arc::new(connect)) }
    }

    pub(crate) async fn open(&self) -> Result<AsyncPgConnection, DriverError> {
        let connection = match &self.source {
            Source::Options(config) => establish(config).await,
            Source::Function(connect) => connect().await,
        };
        connection.map_err(|error| driver_error(error, false))
    }
}

/// The same as for [`DieselDriver::from_url`].
impl FromStr for DieselDriver {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        Self::from_url(url)
    }
}

impl Driver for DieselDriver {
    type Session = DieselSession;

    async fn connect(&self) -> Result<DieselSession, DriverError> {
        let mut connection = self.open().await?;
        connection.set_prepared_statement_cache_size(CacheSize::Unbounded);
        connection
            .batch_execute(PRELUDE)
            .await
            .map_err(|error| driver_error(error.into(), false))?;
        Ok(DieselSession::new(connection))
    }
}

impl fmt::Debug for DieselDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("DieselDriver");
        if let Source::Options(config) = &self.source {
            shown
                .field("hosts", &config.get_hosts())
                .field("ports", &config.get_ports())
                .field("database", &config.get_dbname());
        }
        shown.finish_non_exhaustive()
    }
}

/// Connects as [`AsyncPgConnection::establish`] does, but keeps the server's SQLSTATE, which
/// diesel's errors hide.
async fn establish(config: &Config) -> Result<AsyncPgConnection, BoxError> {
    let (client, connection) = config.connect(NoTls).await?;
    Ok(AsyncPgConnection::try_from_client_and_connection(client, connection).await?)
}
