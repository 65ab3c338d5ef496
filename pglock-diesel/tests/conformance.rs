//! Runs the checks that every backend passes.

use std::sync::Arc;

use async_trait::async_trait;
use pglock_diesel::DieselDriver;
use pglock_testkit::conformance::{Fixture, Manager, Options};
use pglock_testkit::postgres::{TestDatabase, TestServer};
use pglock_testkit::witness::{PostgresWitness, Witness};

struct DieselFixture {
    database: TestDatabase,
    witness: PostgresWitness,
}

#[async_trait]
impl Fixture for DieselFixture {
    async fn start() -> Self {
        let server = TestServer::shared().await.unwrap_or_else(|error| panic!("{error}"));
        let database = server.database().await.expect("a new database");
        let witness = PostgresWitness::connect(database.url()).await.expect("a witness");
        Self { database, witness }
    }

    fn manager(&self, options: &Options) -> Arc<dyn Manager> {
        options.build(self.database.url().parse::<DieselDriver>().expect("the URL of the database"))
    }

    fn witness(&self) -> &dyn Witness {
        &self.witness
    }
}

pglock_testkit::conformance!(DieselFixture);
