use std::str::FromStr;

#[cfg(any(feature = "bb8", feature = "deadpool", feature = "mobc"))]
use diesel_async::{AsyncPgConnection, pooled_connection};
use pglock_core::Error;

use crate::driver::DieselDriver;

/// A lock manager over diesel-async: [`Locks::new`](pglock_core::Locks::new) takes a pool, with the
/// feature of its crate, or a [`DieselDriver`].
pub type Locks = pglock_core::Locks<DieselDriver>;

impl FromStr for DieselDriver {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self, Error> {
        Ok(Self::from_url(url)?)
    }
}

/// The pool's connections are customized, but never taken from it.
#[cfg(feature = "bb8")]
impl From<pooled_connection::bb8::Pool<AsyncPgConnection>> for DieselDriver {
    fn from(pool: pooled_connection::bb8::Pool<AsyncPgConnection>) -> Self {
        Self::from_fn(move || {
            let pool = pool.clone();
            async move { pool.dedicated_connection().await }
        })
    }
}

/// Connections are made by the pool's manager, past the pool and the hooks that it has beside the
/// manager's `custom_setup`.
#[cfg(feature = "deadpool")]
impl From<pooled_connection::deadpool::Pool<AsyncPgConnection>> for DieselDriver {
    fn from(pool: pooled_connection::deadpool::Pool<AsyncPgConnection>) -> Self {
        use deadpool::managed::Manager;

        Self::from_fn(move || {
            let pool = pool.clone();
            async move { pool.manager().create().await }
        })
    }
}

/// A connection is taken out of the pool for good, as mobc knows no other way: that needs a free
/// place in the pool for a moment.
#[cfg(feature = "mobc")]
impl From<pooled_connection::mobc::Pool<AsyncPgConnection>> for DieselDriver {
    fn from(pool: pooled_connection::mobc::Pool<AsyncPgConnection>) -> Self {
        Self::from_fn(move || {
            let pool = pool.clone();
            async move { pool.get().await.map(|connection| connection.into_inner()) }
        })
    }
}
