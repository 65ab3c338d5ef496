//! Desks take payments, each in one transaction. The locks belong to the transaction, so there is no
//! lock manager. Look for receipts that are numbered from 1 to 4, and for desks that leave an invoice
//! to another one.
//!
//! ```text
//! cargo run -p pglock-examples --example sqlx-transaction
//! ```

use std::process::ExitCode;
use std::time::Duration;

use pglock_examples::transaction::{self, Desk, Payment, RECEIPTS};
use pglock_examples::{Result, migration, program};
use pglock_sqlx::LockInTransaction;
use pglock_sqlx::sqlx::postgres::PgConnectOptions;
use pglock_sqlx::sqlx::{
    AssertSqlSafe, Connection, PgConnection, query, query_as, query_scalar, raw_sql,
};
use tokio::time::sleep;

#[tokio::main]
async fn main() -> ExitCode {
    program::run_on(async |url| {
        let schema = migration::schema();
        let options: PgConnectOptions = url.parse()?;
        let options = options.options([("search_path", &schema)]);
        let mut connection = PgConnection::connect_with(&options).await?;
        // Yours belongs in your migrations.
        let table = "CREATE TABLE receipt (number int NOT NULL, invoice int NOT NULL)";
        let create = AssertSqlSafe(format!("CREATE SCHEMA {schema}; {table}"));
        raw_sql(create).execute(&mut connection).await?;

        let desk = async || PgConnection::connect_with(&options).await.map(Sqlx);
        let desks = [desk().await?, desk().await?, desk().await?, desk().await?];
        transaction::run(desks).await?;

        let drop = AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE"));
        raw_sql(drop).execute(&mut connection).await?;
        Ok(())
    })
    .await
}

struct Sqlx(PgConnection);

impl Desk for Sqlx {
    async fn pay(&mut self, invoice: i32) -> Result<Payment> {
        let mut tx = self.0.begin().await?;
        if !tx.locks().try_write(transaction::key(invoice)).await? {
            tx.rollback().await?;
            return Ok(Payment::Busy);
        }
        let earlier = query("SELECT FROM receipt WHERE invoice = $1").bind(invoice);
        if earlier.fetch_optional(&mut *tx).await?.is_some() {
            // At once: sqlx rolls a dropped transaction back when its connection is used again.
            tx.rollback().await?;
            return Ok(Payment::PaidBefore);
        }
        tx.locks().write(RECEIPTS).await?;
        let last: Option<i32> =
            query_scalar("SELECT max(number) FROM receipt").fetch_one(&mut *tx).await?;
        let number = last.unwrap_or_default() + 1;
        sleep(transaction::WORK).await;
        let receipt = query("INSERT INTO receipt VALUES ($1, $2)").bind(number).bind(invoice);
        receipt.execute(&mut *tx).await?;
        tx.commit().await?; // releases both locks
        Ok(Payment::Receipt(number))
    }

    async fn close(&mut self, patience: Duration) -> Result<Vec<(i32, i32)>> {
        let mut tx = self.0.begin().await?;
        tx.locks().try_write_for(RECEIPTS, patience).await?;
        let receipts = query_as("SELECT number, invoice FROM receipt ORDER BY number");
        let receipts = receipts.fetch_all(&mut *tx).await?;
        tx.commit().await?;
        Ok(receipts)
    }
}
