//! What only this driver with a real server can show: its pools, its prepared statements, and what
//! its errors hide.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use pglock_testkit::postgres::{TestDatabase, TestServer};
use pglock_testkit::witness::PostgresWitness;

#[path = "postgres/errors.rs"]
mod errors;
#[path = "postgres/pools.rs"]
mod pools;
#[path = "postgres/prepared.rs"]
mod prepared;

async fn database() -> TestDatabase {
    TestServer::shared().await.unwrap().database().await.unwrap()
}

async fn witness(url: &str) -> PostgresWitness {
    PostgresWitness::connect(url).await.unwrap()
}
