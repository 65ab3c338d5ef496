//! The store, from which all replicas get the last slot of a job, and the time.

use std::fmt;

use async_trait::async_trait;

use super::Slot;
use crate::Result;

/// Keeps one [`Record`] for each job, and tells the time.
///
/// The adapters have stores for PostgreSQL, and [`MemorySlots`](super::MemorySlots) is for tests.
/// Implement this trait to keep the slots in a table of your own. Make errors with
/// [`ErrorBuilder`](crate::driver::ErrorBuilder).
///
/// # Contract
///
/// - All replicas use the same store, whose time comes from one clock.
/// - [`replace`](Self::replace) compares and sets in one step. When it returns true, the record
///   survives a crash of the store.
/// - [`look`](Self::look) sees every record whose `replace` has returned.
///
/// # Examples
///
/// ```
/// use async_trait::async_trait;
/// use pglock_core::Result;
/// use pglock_core::recipes::schedule::{Look, MemorySlots, Record, SlotStore};
///
/// /// Prints each new record.
/// #[derive(Debug)]
/// struct Printing(MemorySlots);
///
/// #[async_trait]
/// impl SlotStore for Printing {
///     async fn look(&self, job: &str) -> Result<Look> {
///         self.0.look(job).await
///     }
///
///     async fn replace(&self, job: &str, seen: Option<Record>, next: Record) -> Result<bool> {
///         let is_new = self.0.replace(job, seen, next).await?;
///         if is_new {
///             println!("{job}: {next:?}");
///         }
///         Ok(is_new)
///     }
/// }
/// ```
#[async_trait]
pub trait SlotStore: fmt::Debug + Send + Sync {
    /// The record of this job, and the time.
    ///
    /// # Errors
    ///
    /// If the store cannot be read now.
    async fn look(&self, job: &str) -> Result<Look>;

    /// Replaces the record of this job if it is still `seen`, where `None` means that there is
    /// none. Returns whether it did.
    ///
    /// # Errors
    ///
    /// If the record was not replaced, or if it is not known whether it was.
    async fn replace(&self, job: &str, seen: Option<Record>, next: Record) -> Result<bool>;
}

/// What a [`SlotStore`] keeps for a job.
///
/// # Examples
///
/// ```
/// use pglock_core::recipes::schedule::{Record, Slot};
///
/// // The columns of a table of your own, and back.
/// let record = Record::from((1_700_000_000_000_000, 3));
/// assert_eq!(record, Record { slot: Slot::from_micros(1_700_000_000_000_000), version: 3 });
/// assert_eq!(<(i64, i64)>::from(record), (1_700_000_000_000_000, 3));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a store makes it")]
pub struct Record {
    /// The last settled slot. Before the first one, the time of the first look.
    pub slot: Slot,
    /// Grows with each change, so that a replica whose slot another one took over cannot settle it.
    pub version: i64,
}

/// A slot in microseconds since 1970 and a version, as a table has them.
impl From<(i64, i64)> for Record {
    fn from((slot, version): (i64, i64)) -> Self {
        Self { slot: Slot::from_micros(slot), version }
    }
}

impl From<Record> for (i64, i64) {
    fn from(record: Record) -> Self {
        (record.slot.as_micros(), record.version)
    }
}

impl Record {
    /// The record of this slot that follows the one that was seen.
    pub(super) fn after(seen: Option<Self>, slot: Slot) -> Self {
        Self { slot, version: seen.map_or(0, |seen| seen.version).saturating_add(1) }
    }
}

/// What a [`SlotStore`] knows about a job.
///
/// # Examples
///
/// ```
/// use pglock_core::Result;
/// use pglock_core::recipes::schedule::SlotStore;
///
/// /// A line for a page that shows the jobs.
/// async fn show(store: &dyn SlotStore, job: &str) -> Result<String> {
///     let look = store.look(job).await?;
///     let last = look.record.map(|record| record.slot.time());
///     Ok(format!("{job}: last {last:?}, now {:?}", look.now.time()))
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a store makes it")]
pub struct Look {
    /// The time of the store.
    pub now: Slot,
    /// The record, if there is one.
    pub record: Option<Record>,
}
