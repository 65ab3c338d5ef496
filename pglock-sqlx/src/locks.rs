use std::str::FromStr;

use pglock_core::Error;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

use crate::driver::SqlxDriver;

/// A lock manager over sqlx: [`Locks::new`](pglock_core::Locks::new) takes a [`PgPool`], whose
/// options it uses and whose connections it leaves alone, or [`PgConnectOptions`].
pub type Locks = pglock_core::Locks<SqlxDriver>;

impl From<PgPool> for SqlxDriver {
    fn from(pool: PgPool) -> Self {
        Self::from_pool(&pool)
    }
}

impl From<&PgPool> for SqlxDriver {
    fn from(pool: &PgPool) -> Self {
        Self::from_pool(pool)
    }
}

impl From<PgConnectOptions> for SqlxDriver {
    fn from(options: PgConnectOptions) -> Self {
        Self::from_options(options)
    }
}

impl FromStr for SqlxDriver {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self, Error> {
        Ok(Self::from_url(url)?)
    }
}
