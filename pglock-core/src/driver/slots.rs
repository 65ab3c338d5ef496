//! The statements of a store of slots in PostgreSQL, for the adapters' own stores.

use super::error::DriverError;
use super::question::Row;
use super::statement::{Param, Statement};
use crate::sql;

/// The statements of a [`SlotStore`](crate::recipes::schedule::SlotStore) in PostgreSQL, and what
/// their rows mean. An adapter runs each one outside a transaction.
///
/// # Examples
///
/// ```
/// use pglock_core::driver::SlotStatement;
///
/// let look = SlotStatement::look("nightly-report");
/// assert_eq!(look.params().count(), 1);
/// assert_eq!(SlotStatement::replace("nightly-report", None, (7, 1)).params().count(), 3);
/// assert_eq!(SlotStatement::replace("nightly-report", Some((7, 1)), (8, 2)).params().count(), 5);
/// assert!(SlotStatement::TABLE.starts_with("CREATE TABLE IF NOT EXISTS pglock_slot"));
/// assert_eq!(SlotStatement::read_look(&[(9, Some("7 1".to_owned()))]).unwrap(), (9, Some((7, 1))));
/// assert!(SlotStatement::read_look(&[]).is_err());
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct SlotStatement;

impl SlotStatement {
    /// Creates the table, unless it exists.
    pub const TABLE: &'static str = sql::SLOT_TABLE;

    /// Asks for the time of the server and the record of the job.
    pub fn look(job: &str) -> Statement<'_> {
        Statement::new(sql::LOOK_AT_SLOT, [Param::Text(job)])
    }

    /// Replaces the record of the job, a slot and a version, if it is still `seen`. The answer has a
    /// row if it did.
    pub fn replace(job: &str, seen: Option<(i64, i64)>, next: (i64, i64)) -> Statement<'_> {
        let (job, slot, version) = (Param::Text(job), Param::Int8(next.0), Param::Int8(next.1));
        match seen {
            None => Statement::new(sql::FIRST_SLOT, [job, slot, version]),
            Some(seen) => {
                let seen = (Param::Int8(seen.0), Param::Int8(seen.1));
                Statement::new(sql::NEXT_SLOT, [slot, version, job, seen.0, seen.1])
            }
        }
    }

    /// The time, and the record if there is one: its slot and its version. Times and slots are in
    /// microseconds since 1970.
    ///
    /// # Errors
    ///
    /// If the rows are not those of [`look`](Self::look).
    pub fn read_look(rows: &[Row]) -> Result<(i64, Option<(i64, i64)>), DriverError> {
        let read = match rows {
            [(now, None)] => Some((*now, None)),
            [(now, Some(record))] => record.split_once(' ').and_then(|(slot, version)| {
                Some((*now, Some((slot.parse().ok()?, version.parse().ok()?))))
            }),
            _ => None,
        };
        read.ok_or_else(|| DriverError::protocol("the answer is not that of a store of slots"))
    }
}
