//! Bare statements of diesel-async.

use pglock_diesel::diesel::sql_types::BigInt;
use pglock_diesel::diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use pglock_diesel::{DieselDriver, Locks, diesel};

use crate::{Floor, Result};

#[diesel::declare_sql_function]
extern "SQL" {
    /// The server's function.
    fn pg_try_advisory_lock(key: BigInt) -> Bool;
    /// The server's function.
    fn pg_advisory_unlock(key: BigInt) -> Bool;
}

pub(crate) struct Diesel(AsyncPgConnection);

impl Floor for Diesel {
    const NAME: &str = "diesel-async";

    async fn connect(url: &str) -> Result<Self> {
        Ok(Self(AsyncPgConnection::establish(url).await?))
    }

    async fn pair(&mut self) -> Result {
        let bare = &mut self.0;
        assert!(diesel::select(pg_try_advisory_lock(2)).get_result::<bool>(bare).await?);
        assert!(diesel::select(pg_advisory_unlock(2)).get_result::<bool>(bare).await?);
        Ok(())
    }

    fn locks(url: &str) -> pglock_diesel::Result<Locks> {
        Ok(Locks::new(DieselDriver::from_url(url)?))
    }
}
