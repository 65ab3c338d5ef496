//! Desks take payments, each in one transaction. The locks belong to the transaction, so there is no
//! lock manager. Look for receipts that are numbered from 1 to 4, and for desks that leave an invoice
//! to another one.
//!
//! ```text
//! cargo run -p pglock-examples --example diesel-transaction
//! ```

use std::process::ExitCode;
use std::time::Duration;

use pglock_diesel::LockInTransaction;
use pglock_diesel::diesel::dsl::{exists, max, select};
use pglock_diesel::diesel::{ExpressionMethods, QueryDsl, insert_into};
use pglock_diesel::diesel_async::{
    AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection,
};
use pglock_examples::transaction::{self, Desk, Payment, RECEIPTS};
use pglock_examples::{Result, migration, program};
use tokio::time::sleep;

use self::schema::receipt;

mod schema {
    pglock_diesel::diesel::table! {
        receipt (number) {
            number -> Integer,
            invoice -> Integer,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    program::run_on(async |url| {
        let schema = migration::schema();
        let mut connection = AsyncPgConnection::establish(url).await?;
        // Yours belongs in your migrations.
        let table = format!("{schema}.receipt (number int NOT NULL, invoice int NOT NULL)");
        let create = format!("CREATE SCHEMA {schema}; CREATE TABLE {table}");
        connection.batch_execute(&create).await?;

        let desk = async || Diesel::connect(url, &schema).await;
        let desks = [desk().await?, desk().await?, desk().await?, desk().await?];
        transaction::run(desks).await?;

        Ok(connection.batch_execute(&format!("DROP SCHEMA {schema} CASCADE")).await?)
    })
    .await
}

struct Diesel(AsyncPgConnection);

impl Diesel {
    async fn connect(url: &str, schema: &str) -> Result<Self> {
        let mut connection = AsyncPgConnection::establish(url).await?;
        connection.batch_execute(&format!("SET search_path = {schema}")).await?;
        Ok(Self(connection))
    }
}

impl Desk for Diesel {
    async fn pay(&mut self, invoice: i32) -> Result<Payment> {
        self.0
            .transaction(async |tx| {
                if !tx.locks().try_write(transaction::key(invoice)).await? {
                    return Ok(Payment::Busy);
                }
                let earlier = receipt::table.filter(receipt::invoice.eq(invoice));
                if select(exists(earlier)).get_result(tx).await? {
                    return Ok(Payment::PaidBefore);
                }
                tx.locks().write(RECEIPTS).await?;
                let last: Option<i32> =
                    receipt::table.select(max(receipt::number)).first(tx).await?;
                let number = last.unwrap_or_default() + 1;
                sleep(transaction::WORK).await;
                let row = (receipt::number.eq(number), receipt::invoice.eq(invoice));
                insert_into(receipt::table).values(row).execute(tx).await?;
                Ok(Payment::Receipt(number)) // the commit releases both locks
            })
            .await
    }

    async fn close(&mut self, patience: Duration) -> Result<Vec<(i32, i32)>> {
        self.0
            .transaction(async |tx| {
                tx.locks().try_write_for(RECEIPTS, patience).await?;
                let receipts = receipt::table.select((receipt::number, receipt::invoice));
                Ok(receipts.order(receipt::number).load(tx).await?)
            })
            .await
    }
}
