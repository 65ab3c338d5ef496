//! A store of slots over diesel-async.

use diesel::sql_types::{BigInt, Nullable, Text};
use diesel_async::AsyncPgConnection;
use pglock_core::Result;
use pglock_core::driver::{DriverError, Row, SlotStatement, Statement};
use pglock_core::recipes::schedule::{Look, Record, Slot, SlotStore};
use tokio::sync::Mutex;

use crate::driver::DieselDriver;
use crate::error::{driver_error, is_answer};
use crate::session::load;

/// Keeps the slots of scheduled jobs in the table `pglock_slot`, over a connection of its own.
///
/// It opens the connection at the first look.
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
/// use pglock_diesel::recipes::schedule::Turn;
/// use pglock_diesel::{DieselDriver, DieselSlots, Locks};
///
/// # async fn serve() -> pglock_diesel::Result<()> {
/// println!("{};", DieselSlots::TABLE); // for the migrations of the application
/// let driver = DieselDriver::from_url("postgres://localhost/app")?;
/// let store = Arc::new(DieselSlots::new(driver.clone()));
/// let locks = Locks::new(driver);
/// let job = locks.job("expiry", store).every(Duration::from_secs(300)).at_least_once()?;
/// job.run(std::future::pending(), async |_: Turn| Ok::<_, std::io::Error>(())).await
/// # }
/// ```
#[derive(Debug)]
pub struct DieselSlots {
    driver: DieselDriver,
    connection: Mutex<Connection>,
}

/// Absent before the first statement, while one runs, and after one that ended it.
#[derive(Default)]
struct Connection(Option<AsyncPgConnection>);

impl DieselSlots {
    /// Creates the table, unless it exists.
    pub const TABLE: &'static str = SlotStatement::TABLE;

    /// A store in the database to which this driver connects. Does no I/O.
    pub fn new(driver: DieselDriver) -> Self {
        Self { driver, connection: Mutex::default() }
    }

    async fn query(&self, statement: Statement<'_>) -> Result<Vec<Row>, DriverError> {
        let mut kept = self.connection.lock().await;
        let mut connection = match kept.0.take() {
            Some(connection) => connection,
            None => self.driver.open().await?,
        };
        match load::<(BigInt, Nullable<Text>), _>(&mut connection, statement, true).await {
            Ok(rows) => {
                kept.0 = Some(connection);
                Ok(rows)
            }
            // A refusal may be the last reply of a session that the server ends, so the next
            // statement gets a new one.
            Err(error) => {
                let is_refusal = is_answer(&error);
                Err(driver_error(error.into(), is_refusal))
            }
        }
    }
}

#[async_trait::async_trait]
impl SlotStore for DieselSlots {
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

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("open", &self.0.is_some()).finish()
    }
}
