//! How lock sessions connect over sqlx.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pglock_core::driver::{Driver, DriverError};
use pglock_core::{Error, Result};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};

use crate::error::driver_error;
use crate::session::SqlxSession;
use crate::url;

/// How long the private pool may keep trying after a plain connection has just worked.
const POOL_TIMEOUT: Duration = Duration::from_secs(2);

/// More than the number of texts of this library and of a setup hook. It must not be 0: sqlx would
/// then leave a prepared statement behind at every execution.
const STATEMENT_CACHE_CAPACITY: usize = 100;

/// Opens lock sessions over sqlx: what [`Locks::new`](pglock_core::Locks::new) takes.
///
/// # Behavior
///
/// - Connects as the pool does: keeps TLS, credentials and `after_connect`, and uses options set by
///   [`Pool::set_connect_options`](sqlx::Pool::set_connect_options) from the next session on.
/// - Takes no connection and no permit from the pool, and continues when the pool is closed.
/// - Keeps a handle to the pool, because only a handle shows new options. sqlx closes a pool with
///   its last handle. So if the locks outlive your pool, call [`Pool::close`](sqlx::Pool::close):
///   if you only drop the pool, its idle connections stay for its `idle_timeout`, and
///   `min_connections` of them for good. [`from_pool_options`](Self::from_pool_options) keeps no
///   handle.
/// - Logs no statements: a statement that waits for a lock is not a slow one.
#[derive(Clone)]
pub struct SqlxDriver {
    template: Template,
    /// Whether the last connection worked.
    proven: Arc<AtomicBool>,
}

/// How to connect.
#[derive(Clone)]
enum Template {
    /// No connection is ever taken from it.
    Pool(PgPool),
    Options(Box<(PgPoolOptions, PgConnectOptions)>),
}

impl SqlxDriver {
    /// Connects as this pool does, including its `after_connect`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use pglock_sqlx::sqlx::PgPool;
    /// use pglock_sqlx::{Locks, SqlxDriver};
    ///
    /// let pool = PgPool::connect("postgres://localhost/app").await?;
    /// let locks = Locks::new(SqlxDriver::from_pool(&pool));
    /// # drop(locks);
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_pool(pool: &PgPool) -> Self {
        Self { template: Template::Pool(pool.clone()), proven: Arc::default() }
    }

    /// Connects as a pool with these options does, including its `after_connect`.
    ///
    /// # Examples
    ///
    /// If the application may drop its pool before the locks, give the driver the pool's options
    /// instead:
    ///
    /// ```no_run
    /// use pglock_sqlx::sqlx::PgPool;
    /// use pglock_sqlx::sqlx::postgres::PgConnectOptions;
    /// use pglock_sqlx::{Locks, SqlxDriver};
    ///
    /// fn locks(pool: &PgPool) -> Locks {
    ///     let connect = PgConnectOptions::clone(&pool.connect_options());
    ///     Locks::new(SqlxDriver::from_pool_options(pool.options().clone(), connect))
    /// }
    /// ```
    pub fn from_pool_options(pool: PgPoolOptions, connect: PgConnectOptions) -> Self {
        Self { template: Template::Options(Box::new((pool, connect))), proven: Arc::default() }
    }

    /// Connects with these options.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use pglock_sqlx::sqlx::postgres::PgConnectOptions;
    /// use pglock_sqlx::{Locks, SqlxDriver};
    ///
    /// let options = PgConnectOptions::new().host("db.example.com").database("app");
    /// let locks = Locks::new(SqlxDriver::from_options(options));
    /// # drop(locks);
    /// ```
    pub fn from_options(options: PgConnectOptions) -> Self {
        Self::from_pool_options(PgPoolOptions::new(), options)
    }

    /// Connects with the options in this URL. Does no I/O.
    ///
    /// # Errors
    ///
    /// [`InvalidOptions`](pglock_core::ErrorKind::InvalidOptions) if the URL cannot be read. The
    /// error shows neither the URL nor a value in it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn main() -> pglock_sqlx::Result<()> {
    /// use pglock_sqlx::{Locks, SqlxDriver};
    ///
    /// let locks = Locks::new(SqlxDriver::from_url("postgres://localhost/app")?);
    /// # drop(locks);
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_url(url: &str) -> Result<Self> {
        Ok(url::read(url).map(Self::from_options)?)
    }

    fn connect_options(&self) -> PgConnectOptions {
        self.template
            .connect_options()
            .disable_statement_logging()
            .statement_cache_capacity(STATEMENT_CACHE_CAPACITY)
    }
}

impl Template {
    fn connect_options(&self) -> PgConnectOptions {
        match self {
            Self::Pool(pool) => PgConnectOptions::clone(&pool.connect_options()),
            Self::Options(options) => options.1.clone(),
        }
    }

    fn pool_options(&self) -> &PgPoolOptions {
        match self {
            Self::Pool(pool) => pool.options(),
            Self::Options(options) => &options.0,
        }
    }
}

/// The same as for [`SqlxDriver::from_url`].
impl FromStr for SqlxDriver {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        Self::from_url(url)
    }
}

impl Driver for SqlxDriver {
    type Session = SqlxSession;

    async fn connect(&self) -> Result<SqlxSession, DriverError> {
        let options = self.connect_options();
        if !self.proven.swap(false, Ordering::Relaxed) {
            try_out(&options).await?;
        }
        // A pool of its own for each session, because only a pool runs the hooks, and only a
        // listener, which needs a pool, reads an idle socket.
        let pool = self
            .template
            .pool_options()
            .clone()
            .acquire_timeout(POOL_TIMEOUT)
            .idle_timeout(None)
            .max_connections(1)
            .max_lifetime(None)
            .min_connections(0)
            .test_before_acquire(false)
            .connect_lazy_with(options.clone());
        match PgListener::connect_with(&pool).await {
            Ok(listener) => {
                let mut session = SqlxSession::new(listener, pool);
                session.prepare().await?;
                self.proven.store(true, Ordering::Relaxed);
                Ok(session)
            }
            Err(sqlx::Error::PoolTimedOut) => {
                try_out(&options).await?;
                Err(DriverError::connection(
                    "the pool's after_connect failed (sqlx logs its error), or the server refused a connection for a while",
                ))
            }
            Err(error) => Err(driver_error(error)),
        }
    }
}

impl fmt::Debug for SqlxDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The options' own Debug shows the password.
        let options = self.template.connect_options();
        f.debug_struct("SqlxDriver")
            .field("host", &options.get_host())
            .field("port", &options.get_port())
            .field("database", &options.get_database())
            .finish_non_exhaustive()
    }
}

/// Makes a plain connection, to learn the server's own reason if that fails.
///
/// A pool retries if the server refuses the connection, is full or is starting, and then hides the
/// reason.
async fn try_out(options: &PgConnectOptions) -> Result<(), DriverError> {
    let connection = PgConnection::connect_with(options).await.map_err(driver_error)?;
    // No clean close is needed.
    let _ = connection.close().await;
    Ok(())
}
