//! The pools whose configuration a driver can use.

use diesel_async::{AsyncPgConnection, pooled_connection};

use crate::driver::DieselDriver;

/// A pool of diesel-async that [`DieselDriver::from_pool`] takes: one of bb8, deadpool or mobc,
/// with the feature of that name.
///
/// Only this crate implements it. See [an example](crate::DieselDriver#examples).
pub trait Pool: Lend {}

pub trait Lend {
    /// A driver that connects as this pool does.
    fn driver(&self) -> DieselDriver;
}

/// Sets connections up as the pool does, and takes none from it.
#[cfg(feature = "bb8")]
impl Pool for pooled_connection::bb8::Pool<AsyncPgConnection> {}

#[cfg(feature = "bb8")]
impl Lend for pooled_connection::bb8::Pool<AsyncPgConnection> {
    fn driver(&self) -> DieselDriver {
        let pool = self.clone();
        DieselDriver::from_fn(move || {
            let pool = pool.clone();
            async move { pool.dedicated_connection().await }
        })
    }
}

/// Asks the pool's manager for connections. Hooks that the pool runs in addition to the manager's
/// `custom_setup` do not run.
#[cfg(feature = "deadpool")]
impl Pool for pooled_connection::deadpool::Pool<AsyncPgConnection> {}

#[cfg(feature = "deadpool")]
impl Lend for pooled_connection::deadpool::Pool<AsyncPgConnection> {
    fn driver(&self) -> DieselDriver {
        use deadpool::managed::Manager;

        let pool = self.clone();
        DieselDriver::from_fn(move || {
            let pool = pool.clone();
            async move { pool.manager().create().await }
        })
    }
}

/// Takes connections out of the pool permanently, because mobc offers no other way. Each one needs
/// a free place in the pool for a moment.
#[cfg(feature = "mobc")]
impl Pool for pooled_connection::mobc::Pool<AsyncPgConnection> {}

#[cfg(feature = "mobc")]
impl Lend for pooled_connection::mobc::Pool<AsyncPgConnection> {
    fn driver(&self) -> DieselDriver {
        let pool = self.clone();
        DieselDriver::from_fn(move || {
            let pool = pool.clone();
            async move { pool.get().await.map(|connection| connection.into_inner()) }
        })
    }
}
