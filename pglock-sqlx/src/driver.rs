use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use pglock_core::driver::{Driver, DriverError};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};
use tokio::time::timeout;

use crate::error::driver_error;
use crate::session::SqlxSession;

/// Longest time that one connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// More than the texts of this library and of a set-up hook. 0 must not be used: sqlx then leaves a prepared statement behind at every execution.
const STATEMENT_CACHE_CAPACITY: usize = 100;

/// Opens lock sessions over sqlx.
///
/// # Behavior
///
/// - Connects as the pool does: TLS, credentials and `after_connect` are kept, and options set by [`Pool::set_connect_options`](sqlx::Pool::set_connect_options) are
///   used from the next session on.
/// - Takes no connection and no slot of the pool, and goes on when the pool is closed.
/// - Logs no statements: one that waits for a lock is not a slow statement.
#[derive(Clone)]
pub struct SqlxDriver {
    /// Tells how to connect; no connection is ever taken from it.
    template: PgPool,
}

impl SqlxDriver {
    /// Connects as this pool does.
    pub fn from_pool(pool: &PgPool) -> Self {
        Self {
            template: pool.clone(),
        }
    }

    /// Connects with these options.
    pub fn from_options(options: PgConnectOptions) -> Self {
        // Without the two limits no task needs to be spawned, so that this can be called outside a runtime.
        let template = PgPoolOptions::new()
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options);
        Self { template }
    }

    /// Connects with the options in this URL.
    ///
    /// # Errors
    ///
    /// [`DriverError::configuration`] if the URL cannot be read. The error does not show the URL.
    pub fn from_url(url: &str) -> Result<Self, DriverError> {
        url.parse().map(Self::from_options).map_err(driver_error)
    }

    fn connect_options(&self) -> PgConnectOptions {
        PgConnectOptions::clone(&self.template.connect_options())
            .disable_statement_logging()
            .statement_cache_capacity(STATEMENT_CACHE_CAPACITY)
    }
}

impl Driver for SqlxDriver {
    type Session = SqlxSession;

    async fn connect(&self) -> Result<SqlxSession, DriverError> {
        let options = self.connect_options();
        // A pool of its own for each session, because only a pool runs the hooks and only a listener, which needs a pool, reads an idle socket.
        let pool = self
            .template
            .options()
            .clone()
            .acquire_timeout(2 * CONNECT_TIMEOUT)
            .idle_timeout(None)
            .max_connections(1)
            .max_lifetime(None)
            .min_connections(0)
            .test_before_acquire(false)
            .connect_lazy_with(options.clone());
        let connecting = async {
            match listen_once(&pool).await {
                Ok(listener) => Ok(SqlxSession::new(listener, pool)),
                Err(sqlx::Error::Io(_)) => Err(reason(&options).await),
                Err(error) => Err(driver_error(error)),
            }
        };
        timeout(CONNECT_TIMEOUT, connecting)
            .await
            .unwrap_or_else(|_| Err(DriverError::connection("no connection within 10 seconds")))
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

/// Opens the connection of a one-slot pool in a single attempt.
///
/// The pool itself would go on trying where the server refuses the connection, is full, is starting, or where a hook fails, and would forget why. So, once
/// the first attempt has begun, the pool gets options for the next one that lead nowhere and end it with [`sqlx::Error::Io`].
async fn listen_once(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    let options = pool.connect_options();
    let mut listening = pin!(PgListener::connect_with(pool));
    poll_fn(|context| {
        let polled = listening.as_mut().poll(context);
        // The pool has one reference and this function another: the third is an attempt's.
        if Arc::strong_count(&options) > 2 {
            pool.set_connect_options(PgConnectOptions::clone(&options).socket("/dev/null"));
        }
        polled
    })
    .await
}

/// Why an attempt failed whose reason the pool has kept to itself, as a connection made without the pool tells it.
async fn reason(options: &PgConnectOptions) -> DriverError {
    match PgConnection::connect_with(options).await {
        Ok(connection) => {
            // Nothing depends on a clean farewell.
            let _ = connection.close().await;
            DriverError::connection(
                "the server refused a connection, or the pool's after_connect failed (sqlx logs its error)",
            )
        }
        Err(error) => driver_error(error),
    }
}
