//! A store of slots over a pool of sqlx.

use pglock_core::driver::{Row, SlotStatement, Statement};
use pglock_core::recipes::schedule::{Look, Record, Slot, SlotStore};
use pglock_core::{Error, Result};
use sqlx::PgPool;

use crate::error::driver_error;
use crate::session::bind;

/// Keeps the slots of scheduled jobs in the table `pglock_slot`, over the application's pool.
///
/// Each look and each change is one statement, outside a transaction. Changes are flushed, whatever
/// `synchronous_commit` is. The role needs `SELECT`, `INSERT` and `UPDATE` on the table.
///
/// # Examples
///
/// ```no_run
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use pglock_sqlx::recipes::schedule::Turn;
/// use pglock_sqlx::{Locks, SqlxDriver, SqlxSlots};
/// # use pglock_sqlx::sqlx::PgPool;
///
/// # async fn serve(pool: PgPool) -> pglock_sqlx::Result<()> {
/// println!("{};", SqlxSlots::TABLE); // for the migrations of the application
/// let locks = Locks::new(SqlxDriver::from_pool(&pool));
/// let store = Arc::new(SqlxSlots::new(pool));
/// let job = locks.job("expiry", store).every(Duration::from_secs(300)).at_least_once()?;
/// job.run(std::future::pending(), async |_: Turn| Ok::<_, std::io::Error>(())).await
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SqlxSlots {
    pool: PgPool,
}

impl SqlxSlots {
    /// Creates the table, unless it exists.
    pub const TABLE: &'static str = SlotStatement::TABLE;

    /// A store in the database of this pool. Does no I/O.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    async fn query(&self, statement: Statement<'_>) -> Result<Vec<Row>> {
        let query = bind(sqlx::query_as(statement.sql()), &statement);
        let rows = query.fetch_all(&self.pool).await.map_err(driver_error);
        rows.map_err(Error::from)
    }
}

#[async_trait::async_trait]
impl SlotStore for SqlxSlots {
    async fn look(&self, job: &str) -> Result<Look> {
        let rows = self.query(SlotStatement::look(job)).await?;
        let (now, record) = SlotStatement::read_look(&rows)?;
        Ok(Look { now: Slot::from_micros(now), record: record.map(Record::from) })
    }

    async fn replace(&self, job: &str, seen: Option<Record>, next: Record) -> Result<bool> {
        let statement = SlotStatement::replace(job, seen.map(Record::into), next.into());
        Ok(!self.query(statement).await?.is_empty())
    }
}
