//! A connection for each lock, as in go-pglock.
//!
//! go-pglock's `NewLock` takes a connection out of the pool and keeps it until `Close`. So here
//! every acquire takes a connection, keeps it while it waits and while it holds, and returns it
//! after the unlock. This shows the model at its best: the pool costs nothing, there are as many
//! connections as tasks, and statements are prepared once per connection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::floor::Connection;
use crate::Result;
use crate::subject::{Subject, Worker};

/// The number of connections that a subject may have in its pool.
pub(crate) const POOL_SIZE: u32 = 64;

/// How long pools let a caller wait for a connection: sqlx's default.
pub(crate) const POOL_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) struct ConnectionPerLock {
    pool: Arc<Pool>,
}

impl Subject for ConnectionPerLock {
    type Worker = Arc<Pool>;

    async fn connect(url: &str) -> Result<Self> {
        let slots = Arc::new(Semaphore::new(POOL_SIZE as usize));
        Ok(Self { pool: Arc::new(Pool { url: url.to_owned(), idle: Mutex::default(), slots }) })
    }

    async fn worker(&self) -> Result<Self::Worker> {
        Ok(self.pool.clone())
    }

    async fn close(self) -> Result<()> {
        Ok(())
    }
}

impl Worker for Arc<Pool> {
    type Guard = Guard;

    async fn write(&self, key: i64) -> Result<Guard> {
        self.acquire(key, true).await
    }

    async fn read(&self, key: i64) -> Result<Guard> {
        self.acquire(key, false).await
    }

    async fn release(&self, guard: Guard) -> Result<()> {
        guard.connection.unlock(guard.key, guard.write).await?;
        self.put(guard.connection);
        Ok(())
    }

    async fn let_go(&self, _guard: Guard) -> Result<()> {
        Err("a lock that is not unlocked stays locked".into())
    }
}

pub(crate) struct Pool {
    url: String,
    idle: Mutex<Vec<Connection>>,
    slots: Arc<Semaphore>,
}

pub(crate) struct Guard {
    connection: Connection,
    key: i64,
    write: bool,
    _slot: OwnedSemaphorePermit,
}

impl Pool {
    async fn acquire(&self, key: i64, write: bool) -> Result<Guard> {
        let slot = timeout(POOL_TIMEOUT, self.slots.clone().acquire_owned())
            .await
            .map_err(|_| "no connection of the pool came free")??;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => Connection::open(&self.url).await?,
        };
        connection.lock(key, write).await?;
        Ok(Guard { connection, key, write, _slot: slot })
    }

    fn put(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}
