//! Three replicas start at once. One runs the migrations in `examples/migrations/diesel`, the
//! others find them done.
//!
//! ```text
//! cargo run -p pglock-examples --example diesel-migration
//! ```

use std::process::ExitCode;

use diesel::migration::MigrationSource;
use diesel::pg::Pg;
use diesel_async::{
    AsyncConnection, AsyncMigrationHarness, AsyncPgConnection, SimpleAsyncConnection,
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use pglock_core::migration::run_exclusively;
use pglock_diesel::DieselDriver;
use pglock_examples::migration::{self, MIGRATIONS as COUNT};
use pglock_examples::{Result, ensure, program};
use tokio::task::yield_now;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/diesel");

#[tokio::main]
async fn main() -> ExitCode {
    program::run_on(async |url| {
        let schema = migration::schema();
        let mut connection = AsyncPgConnection::establish(url).await?;
        connection.batch_execute(&format!("CREATE SCHEMA {schema}")).await?;

        migration::run(|replica| tokio::spawn(start(replica, url.to_owned(), schema.clone())))
            .await?;
        let all = MigrationSource::<Pg>::migrations(&MIGRATIONS)?.len();
        ensure(all == COUNT, "the program has all migrations")?;
        println!("each migration was run once");

        connection.batch_execute(&format!("DROP SCHEMA {schema} CASCADE")).await?;
        Ok(())
    })
    .await
}

async fn start(replica: usize, url: String, schema: String) -> Result<Option<usize>> {
    println!("replica {replica}: migrating");
    let mut connection = AsyncPgConnection::establish(&url).await?;
    connection.batch_execute(&format!("SET search_path = {schema}")).await?;
    let ran = run_exclusively(DieselDriver::from_url(&url)?, migrate(connection)).await??;
    println!("replica {replica}: ran {ran} migrations");
    Ok(Some(ran))
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
