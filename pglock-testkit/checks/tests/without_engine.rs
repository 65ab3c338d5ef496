//! Runs the cases on a backend that offers only what the traits ask for.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pglock_core::{DistributedRwLock, LockEntry, LockProvider, NamedKey, Result, Stats};
use pglock_testkit::conformance::{Fixture, Manager, Options};
use pglock_testkit::memory::{MemoryServer, MemoryWitness};
use pglock_testkit::witness::Witness;

struct PlainFixture {
    server: MemoryServer,
    witness: MemoryWitness,
}

#[async_trait]
impl Fixture for PlainFixture {
    async fn start() -> Self {
        let server = MemoryServer::new();
        let witness = MemoryWitness::connect(&server).expect("the server accepts connections");
        Self { server, witness }
    }

    fn manager(&self, options: &Options) -> Arc<dyn Manager> {
        Arc::new(Plain(options.build(self.server.driver())))
    }

    fn witness(&self) -> &dyn Witness {
        &self.witness
    }
}

/// A manager without what its traits provide, and so without sessions and locks of the engine.
#[derive(Debug)]
struct Plain(Arc<dyn Manager>);

#[async_trait]
impl LockProvider for Plain {
    fn rwlock(&self, key: NamedKey) -> Box<dyn DistributedRwLock> {
        self.0.rwlock(key)
    }

    async fn inspect(&self, key: NamedKey) -> Result<Vec<LockEntry>> {
        self.0.inspect(key).await
    }

    async fn sleep(&self, time: Duration) {
        self.0.sleep(time).await;
    }
}

#[async_trait]
impl Manager for Plain {
    async fn inspect_all(&self) -> Result<Vec<LockEntry>> {
        self.0.inspect_all().await
    }

    async fn check(&self) -> Result<()> {
        self.0.check().await
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }

    fn stats(&self) -> Stats {
        self.0.stats()
    }
}

pglock_testkit::conformance!(PlainFixture, lacks: [Engine, Postgres, Process]);
