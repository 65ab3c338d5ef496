//! sqlx's own `PgAdvisoryLock`, on connections of a pool with sqlx's defaults except for its size.

use pglock_sqlx::sqlx::Postgres;
use pglock_sqlx::sqlx::pool::PoolConnection;
use pglock_sqlx::sqlx::postgres::{
    PgAdvisoryLock, PgAdvisoryLockGuard, PgAdvisoryLockKey, PgPool, PgPoolOptions,
};

use super::connection_per_lock::{POOL_SIZE, POOL_TIMEOUT};
use crate::Result;
use crate::subject::{Subject, Worker};

pub(crate) struct SqlxLock {
    pool: PgPool,
}

impl Subject for SqlxLock {
    type Worker = PgPool;

    async fn connect(url: &str) -> Result<Self> {
        let options = PgPoolOptions::new().max_connections(POOL_SIZE).acquire_timeout(POOL_TIMEOUT);
        Ok(Self { pool: options.connect(url).await? })
    }

    async fn worker(&self) -> Result<PgPool> {
        Ok(self.pool.clone())
    }

    async fn close(self) -> Result<()> {
        self.pool.close().await;
        Ok(())
    }
}

impl Worker for PgPool {
    type Guard = PgAdvisoryLockGuard<PoolConnection<Postgres>>;

    async fn write(&self, key: i64) -> Result<Self::Guard> {
        let lock = PgAdvisoryLock::with_key(PgAdvisoryLockKey::BigInt(key));
        Ok(lock.acquire(self.acquire().await?).await?)
    }

    /// There are no read locks: readers exclude each other.
    async fn read(&self, key: i64) -> Result<Self::Guard> {
        self.write(key).await
    }

    async fn release(&self, guard: Self::Guard) -> Result<()> {
        guard.release_now().await?;
        Ok(())
    }

    async fn let_go(&self, guard: Self::Guard) -> Result<()> {
        drop(guard);
        Ok(())
    }
}
