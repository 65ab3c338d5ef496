//! Three threads give out invoice numbers, with synchronous diesel, and without a runtime. Look for
//! the invoices: they are numbered from 1 to 12, without gaps.
//!
//! ```text
//! cargo run -p pglock-examples --example diesel-threads
//! ```

use std::process::ExitCode;

use pglock_diesel::blocking::Wait;
use pglock_diesel::diesel::connection::{Connection, SimpleConnection};
use pglock_diesel::diesel::dsl::max;
use pglock_diesel::diesel::{ExpressionMethods, QueryDsl, RunQueryDsl, insert_into};
use pglock_diesel::diesel_async::AsyncPgConnection;
use pglock_diesel::diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use pglock_diesel::{DieselDriver, Locks};
use pglock_examples::threads::{self, Invoices};
use pglock_examples::{Result, program};

/// The synchronous interface of diesel. Your program may use diesel's `PgConnection`, which needs
/// libpq.
type PgConnection = AsyncConnectionWrapper<AsyncPgConnection>;

mod schema {
    pglock_diesel::diesel::table! {
        invoice (number) {
            number -> Integer,
        }
    }
}

use self::schema::invoice;

fn main() -> ExitCode {
    program::run_on_threads(|url| {
        let schema = format!("pglock_example_{}", std::process::id());
        let mut connection = PgConnection::establish(url)?;
        // Yours belongs in your migrations.
        connection.batch_execute(&format!(
            "CREATE SCHEMA {schema}; CREATE TABLE {schema}.invoice (number int NOT NULL)"
        ))?;

        let locks = Locks::new(DieselDriver::from_url(url)?);
        threads::run(&locks.rwlock(threads::NAME), || {
            let mut connection = PgConnection::establish(url)?;
            connection.batch_execute(&format!("SET search_path = {schema}"))?;
            Ok(Diesel(connection))
        })?;
        locks.close().wait()?;

        Ok(connection.batch_execute(&format!("DROP SCHEMA {schema} CASCADE"))?)
    })
}

struct Diesel(PgConnection);

impl Invoices for Diesel {
    fn last(&mut self) -> Result<i32> {
        let last: Option<i32> = invoice::table.select(max(invoice::number)).first(&mut self.0)?;
        Ok(last.unwrap_or_default())
    }

    fn add(&mut self, number: i32) -> Result {
        insert_into(invoice::table).values(invoice::number.eq(number)).execute(&mut self.0)?;
        Ok(())
    }

    fn numbers(&mut self) -> Result<Vec<i32>> {
        Ok(invoice::table.select(invoice::number).order(invoice::number).load(&mut self.0)?)
    }
}
