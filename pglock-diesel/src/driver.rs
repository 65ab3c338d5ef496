use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use diesel::connection::CacheSize;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use futures::future::BoxFuture;
use pglock_core::driver::{Driver, DriverError, PRELUDE};
use tokio_postgres::{Config, NoTls};

use crate::error::driver_error;
use crate::session::DieselSession;
use crate::url;

type BoxError = Box<dyn StdError + Send + Sync>;

/// Opens lock sessions over diesel-async.
///
/// # Behavior
///
/// - Connects as the pool or the function does: TLS, credentials and `custom_setup` are kept. A URL
///   is connected to without TLS.
/// - Keeps each connection for itself, outside any pool.
/// - Turns the cache of prepared statements on in its connections, even where the set-up has turned
///   it off.
#[derive(Clone)]
pub struct DieselDriver {
    source: Source,
}

#[derive(Clone)]
enum Source {
    Url(Arc<Config>),
    Function(
        Arc<dyn Fn() -> BoxFuture<'static, Result<AsyncPgConnection, BoxError>> + Send + Sync>,
    ),
}

impl DieselDriver {
    /// Connects by this function, which must make a new connection each time.
    ///
    /// A connection made by [`AsyncPgConnection::try_from`] does not read its own socket: the loss
    /// of such a one is noticed at the next request. One made by
    /// [`AsyncPgConnection::try_from_client_and_connection`] or `establish` tells it within
    /// milliseconds.
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

    /// Connects to the server of this URL, without TLS.
    ///
    /// TCP options in it, such as `keepalives_idle` and `tcp_user_timeout`, are kept.
    ///
    /// # Errors
    ///
    /// [`DriverError::configuration`] if the URL cannot be read. The error names the parameter that
    /// is not known, and shows neither the URL nor a value.
    pub fn from_url(url: &str) -> Result<Self, DriverError> {
        Ok(Self { source: Source::Url(Arc::new(url::read(url)?)) })
    }
}

impl Driver for DieselDriver {
    type Session = DieselSession;

    async fn connect(&self) -> Result<DieselSession, DriverError> {
        let connection = match &self.source {
            Source::Url(config) => establish(config).await,
            Source::Function(connect) => connect().await,
        };
        let mut connection = connection.map_err(|error| driver_error(error, false))?;
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
        if let Source::Url(config) = &self.source {
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
