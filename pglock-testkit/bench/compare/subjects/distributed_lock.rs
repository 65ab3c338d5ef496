//! The crate distributed-lock-postgres, on a pool with sqlx's defaults except for its size; the
//! crate's own default is ten connections.

use std::sync::Arc;

use distributed_lock_core::traits::{
    DistributedReaderWriterLock, LockHandle, ReaderWriterLockProvider,
};
use distributed_lock_postgres::{
    PostgresLockProvider, PostgresReadLockHandle, PostgresWriteLockHandle,
};
use sqlx_08::postgres::{PgPool, PgPoolOptions};

use super::connection_per_lock::{POOL_SIZE, POOL_TIMEOUT};
use crate::Result;
use crate::subject::{Subject, Worker};

pub(crate) struct DistributedLock {
    provider: Arc<PostgresLockProvider>,
    pool: PgPool,
}

impl Subject for DistributedLock {
    type Worker = Arc<PostgresLockProvider>;

    async fn connect(url: &str) -> Result<Self> {
        let options = PgPoolOptions::new().max_connections(POOL_SIZE).acquire_timeout(POOL_TIMEOUT);
        let pool = options.connect(url).await?;
        let provider = PostgresLockProvider::builder().pool(pool.clone()).build().await?;
        Ok(Self { provider: Arc::new(provider), pool })
    }

    async fn worker(&self) -> Result<Self::Worker> {
        Ok(self.provider.clone())
    }

    async fn close(self) -> Result<()> {
        self.pool.close().await;
        Ok(())
    }
}

pub(crate) enum Guard {
    Read(PostgresReadLockHandle),
    Write(PostgresWriteLockHandle),
}

impl Worker for Arc<PostgresLockProvider> {
    type Guard = Guard;

    async fn write(&self, key: i64) -> Result<Guard> {
        let lock = self.create_reader_writer_lock(&name(key));
        Ok(Guard::Write(lock.acquire_write(None).await?))
    }

    async fn read(&self, key: i64) -> Result<Guard> {
        let lock = self.create_reader_writer_lock(&name(key));
        Ok(Guard::Read(lock.acquire_read(None).await?))
    }

    async fn release(&self, guard: Guard) -> Result<()> {
        match guard {
            Guard::Read(handle) => handle.release().await?,
            Guard::Write(handle) => handle.release().await?,
        }
        Ok(())
    }

    async fn let_go(&self, _guard: Guard) -> Result<()> {
        Err("a dropped handle goes back to the pool and keeps the lock".into())
    }
}

/// The notation that the crate uses for a plain number.
fn name(key: i64) -> String {
    format!("{key:016x}")
}
