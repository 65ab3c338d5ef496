//! A holder that has lost its lock writes after its successor. The transaction is refused: once
//! because of a fence, and once because of a token. Look for `refused: …`, twice, and for a ledger
//! without the stale entries.
//!
//! ```text
//! cargo run -p pglock-examples --example sqlx-fencing
//! ```

use std::process::ExitCode;

use pglock_examples::fencing::{self, Ledger};
use pglock_examples::{Result, program};
use pglock_sqlx::sqlx::{Connection, PgConnection, query, query_scalar, raw_sql};
use pglock_sqlx::{FencingToken, LockInTransaction, Locks, SqlxDriver, WriteGuard};

#[tokio::main]
async fn main() -> ExitCode {
    program::run_on(async |url| {
        let locks = Locks::new(SqlxDriver::from_url(url)?);
        fencing::run(&locks, &mut Sqlx::connect(url).await?).await?;
        Ok(locks.close().await?)
    })
    .await
}

struct Sqlx(PgConnection);

impl Sqlx {
    /// The tables are temporary. Yours belong in your migrations.
    async fn connect(url: &str) -> Result<Self> {
        let mut connection = PgConnection::connect(url).await?;
        raw_sql("SET search_path = pg_temp").execute(&mut connection).await?;
        raw_sql(FencingToken::TABLE).execute(&mut connection).await?;
        let table = "CREATE TABLE ledger (id serial PRIMARY KEY, entry text NOT NULL)";
        raw_sql(table).execute(&mut connection).await?;
        Ok(Self(connection))
    }
}

impl Ledger for Sqlx {
    async fn add_fenced(&mut self, guard: &WriteGuard, entry: &str) -> Result {
        let mut tx = self.0.begin().await?;
        guard.fence(tx.locks()).await?;
        query("INSERT INTO ledger (entry) VALUES ($1)").bind(entry).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    async fn add_with_token(&mut self, token: FencingToken, entry: &str) -> Result {
        let mut tx = self.0.begin().await?;
        tx.locks().check_token(token, "ledger").await?;
        query("INSERT INTO ledger (entry) VALUES ($1)").bind(entry).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    async fn entries(&mut self) -> Result<Vec<String>> {
        Ok(query_scalar("SELECT entry FROM ledger ORDER BY id").fetch_all(&mut self.0).await?)
    }

    async fn end_session(&mut self, pid: i32) -> Result {
        query("SELECT pg_terminate_backend($1)").bind(pid).execute(&mut self.0).await?;
        Ok(())
    }
}
