//! The fixture of every adapter for PostgreSQL.

use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use pglock_core::driver::Driver;
use pglock_core::{Error, Result};

use super::driver::AnyDriver;
use super::fixture::{Fixture, Manager, Options};
use crate::postgres::{TestDatabase, TestServer};
use crate::witness::{PostgresWitness, Witness};

/// The fixture of every adapter for PostgreSQL: a database of its own on the [shared test
/// server](TestServer::shared), observed by a [`PostgresWitness`]. It has every power.
pub struct PostgresFixture<D> {
    url: String,
    witness: PostgresWitness,
    /// `None` if the database belongs to another process.
    _database: Option<TestDatabase>,
    driver: PhantomData<fn() -> D>,
}

impl<D> PostgresFixture<D> {
    async fn new(url: String, database: Option<TestDatabase>) -> Self {
        let witness = PostgresWitness::connect(&url).await.unwrap();
        Self { url, witness, _database: database, driver: PhantomData }
    }
}

#[async_trait]
impl<D: Driver + FromStr<Err = Error>> Fixture for PostgresFixture<D> {
    async fn available() -> std::result::Result<(), Box<dyn StdError + Send + Sync>> {
        Ok(TestServer::shared().await.map(drop)?)
    }

    async fn start() -> Self {
        let server = TestServer::shared().await.unwrap();
        let database = server.database().await.unwrap();
        Self::new(database.url().to_owned(), Some(database)).await
    }

    fn manager(&self, options: &Options) -> Arc<dyn Manager> {
        self.manager_at(&self.url, options).unwrap()
    }

    fn witness(&self) -> &dyn Witness {
        &self.witness
    }

    async fn has_lease(&self) -> bool {
        self.witness.major_version().await.unwrap() >= 14
    }

    fn address(&self) -> String {
        self.url.clone()
    }

    async fn join(address: &str) -> Self {
        Self::new(address.to_owned(), None).await
    }

    fn manager_at(&self, url: &str, options: &Options) -> Result<Arc<dyn Manager>> {
        Ok(options.build(url.parse::<D>()?))
    }

    fn driver_at(&self, url: &str) -> Result<Box<dyn AnyDriver>> {
        Ok(Box::new(url.parse::<D>()?))
    }
}

/// Hides the URL, which may contain a password.
impl<D> fmt::Debug for PostgresFixture<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresFixture").finish_non_exhaustive()
    }
}
