//! What a lock costs that nobody else wants, next to two prepared statements on one bare connection
//! of diesel-async.
//!
//! `cargo bench -p pglock-diesel --bench uncontended`

use pglock_diesel::diesel::sql_types::BigInt;
use pglock_diesel::diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use pglock_diesel::{DieselDriver, Locks, diesel};
use pglock_testkit::uncontended::{BoxError, Floor, compare};

#[diesel::declare_sql_function]
extern "SQL" {
    /// The server's own.
    fn pg_try_advisory_lock(key: BigInt) -> Bool;
    /// The server's own.
    fn pg_advisory_unlock(key: BigInt) -> Bool;
}

struct Bare(AsyncPgConnection);

impl Floor for Bare {
    async fn connect(url: &str) -> Result<Self, BoxError> {
        Ok(Self(AsyncPgConnection::establish(url).await?))
    }

    async fn pair(&mut self) -> Result<(), BoxError> {
        let bare = &mut self.0;
        assert!(diesel::select(pg_try_advisory_lock(2)).get_result::<bool>(bare).await?);
        assert!(diesel::select(pg_advisory_unlock(2)).get_result::<bool>(bare).await?);
        Ok(())
    }
}

fn main() -> Result<(), BoxError> {
    compare::<Bare>(|url| Ok(Locks::new(DieselDriver::from_url(url)?).rwlock(1)))
}
