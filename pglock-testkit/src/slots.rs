//! The checks that every store of slots passes.

// Checks are tests: they fail by panicking, and the panic says what is wrong.
#![allow(clippy::missing_panics_doc, clippy::unwrap_used)]

#[cfg(unix)]
mod proof;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pglock_core::recipes::schedule::{Record, Slot, SlotStore};

#[cfg(unix)]
pub use self::proof::prove;

/// Checks the contract of a [`SlotStore`] that is empty and has the time of this machine.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use pglock_core::recipes::schedule::MemorySlots;
/// use pglock_testkit::slots;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// slots::check(Arc::new(MemorySlots::new())).await;
/// # }
/// ```
pub async fn check(store: Arc<dyn SlotStore>) {
    keeps_the_record_of_each_job(&*store).await;
    tells_the_time(&*store).await;
    one_of_many_replaces(&store).await;
}

fn record(slot: i64, version: i64) -> Record {
    Record { slot: Slot::from_micros(slot), version }
}

async fn keeps_the_record_of_each_job(store: &dyn SlotStore) {
    let (one, two) = (record(1_700_000_000_000_001, 1), record(-7, i64::MAX));
    for job in ["job", "", "漢字🔒 $1 'x'"] {
        assert_eq!(store.look(job).await.unwrap().record, None);
        assert!(!store.replace(job, Some(one), two).await.unwrap(), "there is none yet");
        assert!(store.replace(job, None, one).await.unwrap());
        assert!(!store.replace(job, None, two).await.unwrap(), "there is one");
        for other in [two, record(1_700_000_000_000_001, 2), record(-7, 1)] {
            assert!(!store.replace(job, Some(other), two).await.unwrap(), "it is another one");
        }
        assert_eq!(store.look(job).await.unwrap().record, Some(one));
        assert!(store.replace(job, Some(one), two).await.unwrap());
        assert_eq!(store.look(job).await.unwrap().record, Some(two));
    }
}

async fn tells_the_time(store: &dyn SlotStore) {
    let before = store.look("job").await.unwrap().now;
    let after = store.look("job").await.unwrap().now;
    assert!(before <= after);
    let apart = SystemTime::now().duration_since(after.time()).unwrap_or_default();
    assert!(apart < Duration::from_secs(60), "{apart:?}");
}

async fn one_of_many_replaces(store: &Arc<dyn SlotStore>) {
    let mut seen = None;
    for turn in 0..20 {
        let next = record(turn, turn);
        let replaces = [(); 8].map(|()| {
            let store = store.clone();
            tokio::spawn(async move { store.replace("contended", seen, next).await.unwrap() })
        });
        let mut replaced = 0;
        for replace in replaces {
            replaced += usize::from(replace.await.unwrap());
        }
        assert_eq!(replaced, 1);
        seen = Some(next);
    }
}
