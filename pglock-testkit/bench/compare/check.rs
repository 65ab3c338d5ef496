//! Checks that the subjects exclude at all.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Result;

const WRITER: u32 = 1 << 31;

/// Holds that follow each other faster than a server could pass the lock to another process and
/// back.
const SAME_RUN: u64 = 20_000;

/// For each key, the tasks of this process that hold it.
pub(crate) struct Checks {
    inside: Box<[AtomicU32]>,
    runs: Option<Mutex<Vec<Run>>>,
}

/// When this process held the one key, in nanoseconds since 1970.
pub(crate) type Run = (u64, u64);

impl Checks {
    pub(crate) fn new(keys: usize) -> Self {
        Self { inside: (0..keys).map(|_| AtomicU32::new(0)).collect(), runs: None }
    }

    /// Also records when the key was held, for comparison with other processes.
    pub(crate) fn with_runs() -> Self {
        Self { runs: Some(Mutex::default()), ..Self::new(1) }
    }

    pub(crate) fn enter(&self, key: usize, write: bool) -> Result<()> {
        let before = if write {
            self.inside[key].fetch_add(WRITER, Ordering::SeqCst)
        } else {
            self.inside[key].fetch_add(1, Ordering::SeqCst) & WRITER
        };
        if before != 0 {
            return Err("EXCLUSION VIOLATED: two holders at once in one process".into());
        }
        if let Some(runs) = &self.runs {
            let now = now();
            let mut runs = runs.lock().unwrap_or_else(PoisonError::into_inner);
            match runs.last_mut() {
                Some(run) if now.saturating_sub(run.1) < SAME_RUN => run.1 = now,
                _ => runs.push((now, now)),
            }
        }
        Ok(())
    }

    pub(crate) fn leave(&self, key: usize, write: bool) {
        if let Some(runs) = &self.runs
            && let Some(run) = runs.lock().unwrap_or_else(PoisonError::into_inner).last_mut()
        {
            run.1 = now();
        }
        self.inside[key].fetch_sub(if write { WRITER } else { 1 }, Ordering::SeqCst);
    }

    pub(crate) fn take_runs(&self) -> Vec<Run> {
        let runs =
            self.runs.as_ref().map(|runs| runs.lock().unwrap_or_else(PoisonError::into_inner));
        runs.map(|mut runs| std::mem::take(&mut *runs)).unwrap_or_default()
    }
}

/// Fails if two runs overlap.
pub(crate) fn no_overlap(mut runs: Vec<Run>) -> Result<()> {
    runs.sort_unstable();
    if runs.windows(2).any(|pair| pair[0].1 > pair[1].0) {
        return Err("EXCLUSION VIOLATED: two processes held the lock at once".into());
    }
    Ok(())
}

/// One clock for all processes. If it is adjusted while they run, the check fails.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or_default()
}
