//! Three replicas start at once. One runs the migrations in `examples/migrations/sqlx`, the others
//! find them done. Look for `the schema is up to date`, three times, and
//! `each migration was run once`.
//!
//! ```text
//! cargo run -p pglock-examples --example sqlx-migration
//! ```

use std::process::ExitCode;

use pglock_examples::{Result, ensure, migration, program};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgPool};

#[tokio::main]
async fn main() -> ExitCode {
    program::run_on(async |url| {
        let schema = migration::schema();
        let options: PgConnectOptions = url.parse()?;
        let pool =
            PgPoolOptions::new().connect_with(options.options([("search_path", &schema)])).await?;
        sqlx::query(AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).execute(&pool).await?;

        migration::run(|replica| tokio::spawn(start(replica, pool.clone()))).await?;
        check(&pool).await?;

        sqlx::query(AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE"))).execute(&pool).await?;
        Ok(())
    })
    .await
}

async fn start(replica: usize, pool: PgPool) -> Result {
    println!("replica {replica}: migrating");
    Ok(pglock_sqlx::migrate(&pool, sqlx::migrate!("migrations/sqlx")).await?)
}

async fn check(pool: &PgPool) -> Result {
    let recorded: i64 = sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations WHERE success")
        .fetch_one(pool)
        .await?;
    let valid: bool = sqlx::query_scalar(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'invoice_paid_at'::regclass",
    )
    .fetch_one(pool)
    .await?;
    ensure(valid, "the index was built")?;
    migration::check(recorded.try_into()?)
}
