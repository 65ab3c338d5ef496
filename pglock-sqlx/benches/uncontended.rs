//! What a lock costs that nobody else wants, next to two prepared statements on one bare connection
//! of sqlx.
//!
//! `cargo bench -p pglock-sqlx --bench uncontended`

use pglock_sqlx::sqlx::postgres::PgConnection;
use pglock_sqlx::sqlx::{Connection, query_scalar};
use pglock_sqlx::{Locks, SqlxDriver};
use pglock_testkit::uncontended::{BoxError, Floor, compare};

struct Bare(PgConnection);

impl Floor for Bare {
    async fn connect(url: &str) -> Result<Self, BoxError> {
        Ok(Self(PgConnection::connect(url).await?))
    }

    async fn pair(&mut self) -> Result<(), BoxError> {
        for statement in ["SELECT pg_try_advisory_lock($1)", "SELECT pg_advisory_unlock($1)"] {
            let done: bool = query_scalar(statement).bind(2_i64).fetch_one(&mut self.0).await?;
            assert!(done);
        }
        Ok(())
    }
}

fn main() -> Result<(), BoxError> {
    compare::<Bare>(|url| Ok(Locks::new(SqlxDriver::from_url(url)?).rwlock(1)))
}
