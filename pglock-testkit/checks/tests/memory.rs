//! Runs the cases that every backend passes on the server in memory.

use std::sync::Arc;

use async_trait::async_trait;
use pglock_testkit::conformance::{Fixture, Manager, Options};
use pglock_testkit::memory::{MemoryServer, MemoryWitness};
use pglock_testkit::witness::Witness;

struct MemoryFixture {
    server: MemoryServer,
    witness: MemoryWitness,
}

#[async_trait]
impl Fixture for MemoryFixture {
    async fn start() -> Self {
        let server = MemoryServer::new();
        let witness = MemoryWitness::connect(&server).expect("the server accepts connections");
        Self { server, witness }
    }

    fn manager(&self, options: &Options) -> Arc<dyn Manager> {
        options.build(self.server.driver())
    }

    fn witness(&self) -> &dyn Witness {
        &self.witness
    }
}

pglock_testkit::conformance!(MemoryFixture, lacks: [Postgres, Process]);
