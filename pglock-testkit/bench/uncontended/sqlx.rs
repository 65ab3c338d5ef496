//! Bare statements of sqlx.

use pglock_sqlx::sqlx::postgres::PgConnection;
use pglock_sqlx::sqlx::{Connection, query_scalar};
use pglock_sqlx::{Locks, SqlxDriver};

use crate::{Floor, Result};

pub(crate) struct Sqlx(PgConnection);

impl Floor for Sqlx {
    const NAME: &str = "sqlx";

    async fn connect(url: &str) -> Result<Self> {
        Ok(Self(PgConnection::connect(url).await?))
    }

    async fn pair(&mut self) -> Result {
        for statement in ["SELECT pg_try_advisory_lock($1)", "SELECT pg_advisory_unlock($1)"] {
            let done: bool = query_scalar(statement).bind(2_i64).fetch_one(&mut self.0).await?;
            assert!(done);
        }
        Ok(())
    }

    fn locks(url: &str) -> pglock_sqlx::Result<Locks> {
        Ok(Locks::new(SqlxDriver::from_url(url)?))
    }
}
