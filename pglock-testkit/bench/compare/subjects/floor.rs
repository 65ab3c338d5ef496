//! The minimum cost: two prepared round trips on a connection that belongs to the task.

use std::sync::Arc;

use tokio_postgres::{Client, Statement};

use crate::subject::{Subject, Worker};
use crate::{Result, bare};

pub(crate) struct Floor {
    url: String,
}

impl Subject for Floor {
    type Worker = Arc<Connection>;

    async fn connect(url: &str) -> Result<Self> {
        Ok(Self { url: url.to_owned() })
    }

    async fn worker(&self) -> Result<Self::Worker> {
        Connection::open(&self.url).await.map(Arc::new)
    }

    async fn close(self) -> Result<()> {
        Ok(())
    }
}

impl Worker for Arc<Connection> {
    type Guard = (i64, bool);

    async fn write(&self, key: i64) -> Result<Self::Guard> {
        self.lock(key, true).await?;
        Ok((key, true))
    }

    async fn read(&self, key: i64) -> Result<Self::Guard> {
        self.lock(key, false).await?;
        Ok((key, false))
    }

    async fn release(&self, (key, write): Self::Guard) -> Result<()> {
        self.unlock(key, write).await
    }

    /// There is no guard to drop, so the floor is the same.
    async fn let_go(&self, (key, write): Self::Guard) -> Result<()> {
        self.unlock(key, write).await
    }
}

/// A connection whose statements are prepared.
pub(crate) struct Connection {
    client: Client,
    lock: [Statement; 2],
    unlock: [Statement; 2],
}

impl Connection {
    pub(crate) async fn open(url: &str) -> Result<Self> {
        let client = bare::connect(url).await?;
        let lock = [
            client.prepare("SELECT pg_advisory_lock_shared($1)").await?,
            client.prepare("SELECT pg_advisory_lock($1)").await?,
        ];
        let unlock = [
            client.prepare("SELECT pg_advisory_unlock_shared($1)").await?,
            client.prepare("SELECT pg_advisory_unlock($1)").await?,
        ];
        Ok(Self { client, lock, unlock })
    }

    pub(crate) async fn lock(&self, key: i64, write: bool) -> Result<()> {
        self.client.query_one(&self.lock[usize::from(write)], &[&key]).await?;
        Ok(())
    }

    pub(crate) async fn unlock(&self, key: i64, write: bool) -> Result<()> {
        let row = self.client.query_one(&self.unlock[usize::from(write)], &[&key]).await?;
        if row.try_get(0)? { Ok(()) } else { Err("the lock was not held".into()) }
    }
}
