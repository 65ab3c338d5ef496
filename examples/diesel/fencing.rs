//! A holder that has lost its lock writes after its successor. The transaction is refused: once
//! because of a fence, and once because of a token. Look for `refused: …`, twice, and for a ledger
//! without the stale entries.
//!
//! ```text
//! cargo run -p pglock-examples --example diesel-fencing
//! ```

use std::process::ExitCode;

use pglock_diesel::diesel::sql_types::Integer;
use pglock_diesel::diesel::{ExpressionMethods, QueryDsl, insert_into, sql_query};
use pglock_diesel::diesel_async::{
    AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection,
};
use pglock_diesel::{DieselDriver, FencingToken, LockInTransaction, Locks, WriteGuard};
use pglock_examples::fencing::{self, Ledger};
use pglock_examples::{Result, program};

use self::schema::ledger;

mod schema {
    pglock_diesel::diesel::table! {
        ledger {
            id -> Integer,
            entry -> Text,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    program::run_on(async |url| {
        let locks = Locks::new(DieselDriver::from_url(url)?);
        fencing::run(&locks, &mut Diesel::connect(url).await?).await?;
        Ok(locks.close().await?)
    })
    .await
}

struct Diesel(AsyncPgConnection);

impl Diesel {
    /// The tables are temporary. Yours belong in your migrations.
    async fn connect(url: &str) -> Result<Self> {
        let mut connection = AsyncPgConnection::establish(url).await?;
        connection.batch_execute("SET search_path = pg_temp").await?;
        connection.batch_execute(FencingToken::TABLE).await?;
        let table = "CREATE TABLE ledger (id serial PRIMARY KEY, entry text NOT NULL)";
        connection.batch_execute(table).await?;
        Ok(Self(connection))
    }
}

impl Ledger for Diesel {
    async fn add_fenced(&mut self, guard: &WriteGuard, entry: &str) -> Result {
        self.0
            .transaction(async |tx| {
                guard.fence(tx.locks()).await?;
                insert_into(ledger::table).values(ledger::entry.eq(entry)).execute(tx).await?;
                Ok(())
            })
            .await
    }

    async fn add_with_token(&mut self, token: FencingToken, entry: &str) -> Result {
        self.0
            .transaction(async |tx| {
                tx.locks().check_token(token, "ledger").await?;
                insert_into(ledger::table).values(ledger::entry.eq(entry)).execute(tx).await?;
                Ok(())
            })
            .await
    }

    async fn entries(&mut self) -> Result<Vec<String>> {
        let entries = ledger::table.select(ledger::entry).order(ledger::id);
        Ok(entries.load(&mut self.0).await?)
    }

    async fn end_session(&mut self, pid: i32) -> Result {
        let end = sql_query("SELECT pg_terminate_backend($1)").bind::<Integer, _>(pid);
        end.execute(&mut self.0).await?;
        Ok(())
    }
}
