//! A store in memory, for tests.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;

use super::{Look, Record, Slot, SlotStore};
use crate::Result;

/// A [`SlotStore`] in memory, for tests with replicas in one process. Clones share the records.
///
/// # Examples
///
/// A clock that the test sets:
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
///
/// use pglock_core::recipes::schedule::{MemorySlots, Slot};
///
/// let time = Arc::new(AtomicI64::new(0));
/// let clock = time.clone();
/// let store = MemorySlots::new().with_clock(move || Slot::from_micros(clock.load(SeqCst)).time());
/// time.fetch_add(3_600_000_000, SeqCst); // an hour later
/// # drop(store);
/// ```
#[derive(Clone)]
pub struct MemorySlots {
    records: Arc<Mutex<BTreeMap<String, Record>>>,
    clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

impl MemorySlots {
    /// An empty store with the clock of this machine.
    pub fn new() -> Self {
        Self { records: Arc::default(), clock: Arc::new(SystemTime::now) }
    }

    /// The same records, with another clock.
    #[must_use]
    pub fn with_clock(self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }
}

impl Default for MemorySlots {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl SlotStore for MemorySlots {
    async fn look(&self, job: &str) -> Result<Look> {
        let now = Slot::from_time((self.clock)());
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Look { now, record: records.get(job).copied() })
    }

    async fn replace(&self, job: &str, seen: Option<Record>, next: Record) -> Result<bool> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        if records.get(job).copied() != seen {
            return Ok(false);
        }
        records.insert(job.to_owned(), next);
        Ok(true)
    }
}

impl fmt::Debug for MemorySlots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySlots").field("records", &self.records).finish_non_exhaustive()
    }
}
