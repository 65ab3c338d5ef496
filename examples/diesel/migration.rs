//! Three replicas start at once. One runs the migrations in `examples/migrations/diesel`, the
//! others find them done. Look for `the schema is up to date`, three times, and
//! `each migration was run once`.
//!
//! ```text
//! cargo run -p pglock-examples --example diesel-migration
//! ```

use std::process::ExitCode;

use diesel_async::{
    AsyncConnection, AsyncMigrationHarness, AsyncPgConnection, SimpleAsyncConnection,
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use pglock_diesel::{DieselDriver, run_exclusively};
use pglock_examples::{Result, migration, program};
use tokio::task::yield_now;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/diesel");

#[tokio::main]
async fn main() -> ExitCode {
    program::run_on(async |url| {
        let schema = migration::schema();
        let mut connection = AsyncPgConnection::establish(url).await?;
        let create = format!("CREATE SCHEMA {schema}; SET search_path = {schema}");
        connection.batch_execute(&create).await?;

        migration::run(|replica| tokio::spawn(start(replica, url.to_owned(), schema.clone())))
            .await?;
        let mut harness = AsyncMigrationHarness::new(connection);
        migration::check(harness.applied_migrations()?.len())?;

        let drop = format!("DROP SCHEMA {schema} CASCADE");
        Ok(harness.into_inner().batch_execute(&drop).await?)
    })
    .await
}

async fn start(replica: usize, url: String, schema: String) -> Result {
    println!("replica {replica}: migrating");
    let mut connection = AsyncPgConnection::establish(&url).await?;
    connection.batch_execute(&format!("SET search_path = {schema}")).await?;
    let ran = run_exclusively(DieselDriver::from_url(&url)?, migrate(connection)).await??;
    println!("replica {replica}: ran {ran} migrations");
    Ok(())
}

/// One migration at a time: if the lock is lost, the work stops at its next `await`.
async fn migrate(connection: AsyncPgConnection) -> Result<usize> {
    let mut harness = AsyncMigrationHarness::new(connection);
    let mut ran = 0;
    while harness.has_pending_migration(MIGRATIONS)? {
        harness.run_next_migration(MIGRATIONS)?;
        ran += 1;
        yield_now().await;
    }
    Ok(ran)
}
