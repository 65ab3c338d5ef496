//! The turns in which processes hold a lock, and how even their shares are.

use std::sync::{Arc, Mutex};

use pglock_core::DistributedRwLock;

use super::soon;

/// For each turn, the process and how often it wrote. Clones are handles to the same list.
#[derive(Clone, Default)]
pub(super) struct Turns(Arc<Mutex<Vec<(usize, u32)>>>);

impl Turns {
    /// Writes until the list has this many turns. Returns the number of writes.
    pub(super) async fn take(
        self,
        lock: Arc<dyn DistributedRwLock>,
        process: usize,
        most: usize,
    ) -> usize {
        let mut writes = 0;
        loop {
            let guard = soon("a task starves", lock.write()).await.unwrap();
            let turn = self.note(process);
            guard.release().await.unwrap();
            if turn > most {
                return writes;
            }
            writes += 1;
        }
    }

    /// Records a write of this process. Returns the number of its turn.
    fn note(&self, process: usize) -> usize {
        let mut turns = self.0.lock().unwrap();
        match turns.last_mut() {
            Some((last, writes)) if *last == process => *writes += 1,
            _ => turns.push((process, 1)),
        }
        turns.len()
    }

    /// The lengths of the turns of a process.
    pub(super) fn of(&self, process: usize) -> Vec<u32> {
        let turns = self.0.lock().unwrap();
        turns.iter().filter(|turn| turn.0 == process).map(|turn| turn.1).collect()
    }
}

/// Jain's fairness index: 1 if all shares are equal, 1/n if one of n has everything.
pub(super) fn jain(shares: &[usize]) -> f64 {
    let shares = || shares.iter().map(|&share| share as f64);
    let sum: f64 = shares().sum();
    let squares: f64 = shares().map(|share| share * share).sum();
    sum * sum / (shares().count() as f64 * squares)
}
