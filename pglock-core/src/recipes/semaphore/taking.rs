//! Takes permits, by trying the locks that represent them.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use super::Shared;
use super::line::Leaving;
use crate::recipes::together::together;
use crate::{DistributedRwLock, ErrorKind, ReadGuard, Result, WriteGuard};

/// One or several permits.
pub(super) struct Taken {
    pub(super) slot: u32,
    pub(super) guard: WriteGuard,
}

/// How sure a try for one permit has to be that none is free.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scan {
    /// Other tries may move permits meanwhile. This is enough before waiting.
    Shared,
    /// If that finds none, it looks again while no other caller can take any.
    Sure,
}

/// The number of locks to try at a time.
const BATCH: usize = 64;

/// How long a process that was stopped in a try can delay a try of another one, which then reports
/// that no permit is free.
const GATE_TIMEOUT: Duration = Duration::from_secs(1);

/// The first in line checks again after an eighth of the time that it has waited, within these
/// bounds.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The first in line has the turnstile.
struct Passing<'a> {
    turnstile: Option<WriteGuard>,
    first: &'a mut Leaving,
}

impl Passing<'_> {
    fn leave(&mut self) {
        if let Some(turnstile) = self.turnstile.take() {
            self.first.leave(async move {
                // A lost one needs no release.
                let _ = turnstile.release().await;
            });
        }
    }
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Shared {
    /// Takes this many permits if they are free and no other process waits for permits. With
    /// [`Scan::Shared`], it may miss permits that others release and take meanwhile.
    pub(super) async fn try_take(
        &self,
        count: u32,
        scan: Scan,
        first: &mut Leaving,
    ) -> Result<Option<Vec<Taken>>> {
        if count == 1 {
            self.try_take_one(scan, first).await
        } else {
            self.try_take_many(count, first).await
        }
    }

    /// Several processes may do this at the same time: each takes only what it can keep.
    async fn try_take_one(&self, scan: Scan, first: &mut Leaving) -> Result<Option<Vec<Taken>>> {
        let gate = self.gate.try_read_for(GATE_TIMEOUT);
        let (turnstile, gate) = tokio::join!(self.turnstile.try_read(), gate);
        let Some(turnstile) = turnstile? else {
            return Ok(None);
        };
        let gate = match gate {
            // The time was over before there was a connection, but now there is one.
            Err(error) if error.kind() == ErrorKind::Connection => {
                self.gate.try_read_for(GATE_TIMEOUT).await
            }
            gate => gate,
        };
        let Some(gate) = unless_timed_out(gate)? else {
            return Ok(None);
        };
        let taken = self.take_one().await?;
        // The only permit was held when it was tried.
        if taken.is_some() || scan == Scan::Shared || self.permits == 1 {
            first.leave(async move {
                // Lost permits need no release.
                let _ = tokio::join!(turnstile.release(), gate.release());
            });
            return Ok(taken);
        }
        drop(gate);
        self.alone(turnstile, first, self.take_one()).await
    }

    /// One process at a time: no other process misses the permits that it takes and cannot keep.
    async fn try_take_many(&self, count: u32, first: &mut Leaving) -> Result<Option<Vec<Taken>>> {
        let Some(turnstile) = self.turnstile.try_read().await? else {
            return Ok(None);
        };
        let take = async {
            let mut taken = Vec::new();
            self.take_free(count, &mut taken).await?;
            if taken.len() < count as usize {
                give_back(std::mem::take(&mut taken)).await;
            }
            Ok((!taken.is_empty()).then_some(taken))
        };
        self.alone(turnstile, first, take).await
    }

    /// Takes permits while no other caller can take any. Others can be released meanwhile, so those
    /// that are found held were held when it began.
    async fn alone(
        &self,
        turnstile: ReadGuard,
        first: &mut Leaving,
        take: impl Future<Output = Result<Option<Vec<Taken>>>>,
    ) -> Result<Option<Vec<Taken>>> {
        let gate = self.gate.try_write_for(GATE_TIMEOUT).await;
        let Some(gate) = unless_timed_out(gate)? else {
            return Ok(None);
        };
        let taken = take.await?;
        first.leave(async move {
            let _ = tokio::join!(turnstile.release(), gate.release());
        });
        Ok(taken)
    }

    /// Takes the first permit that is free when its turn comes.
    async fn take_one(&self) -> Result<Option<Vec<Taken>>> {
        let slots: Vec<_> = self.slots_in_turn().collect();
        for slots in slots.chunks(BATCH) {
            let keys: Vec<_> = slots.iter().map(|&slot| self.keys.permit(slot)).collect();
            if let Some(guard) = self.locks.try_write_any(&keys).await? {
                let slot = slots.iter().zip(&keys).find(|(_, key)| key.key() == guard.key());
                return Ok(slot.map(|(&slot, _)| vec![Taken { slot, guard }]));
            }
        }
        Ok(None)
    }

    /// Waits behind the turnstile until this many permits are free. If the caller stops waiting,
    /// the next one of this process waits until the turnstile is released.
    pub(super) async fn take(&self, count: u32, first: &mut Leaving) -> Result<Vec<Taken>> {
        let _waiting = self.line.wait();
        loop {
            let turnstile = self.turnstile.write().await?;
            let mut passing = Passing { turnstile: Some(turnstile), first: &mut *first };
            let taken = match &passing.turnstile {
                Some(turnstile) => self.collect(count, turnstile).await?,
                None => None,
            };
            // Confirmed, so that the turnstile is not in the way of other callers when this one has
            // stopped waiting.
            passing.leave();
            passing.first.has_left().await;
            if let Some(taken) = taken {
                return Ok(taken);
            }
        }
    }

    /// Takes permits as they become free. `None` if the turnstile was lost: then others may be
    /// collecting as well, and each might wait for what the other has.
    async fn collect(&self, count: u32, turnstile: &WriteGuard) -> Result<Option<Vec<Taken>>> {
        let mut taken = Vec::new();
        let mut waited = Duration::ZERO;
        loop {
            let freed = self.freed.notified();
            let answered = match self.take_free(count, &mut taken).await {
                // The turnstile shows whether the server is reachable.
                Err(error) if error.kind() == ErrorKind::Connection => false,
                done => done.map(|()| true)?,
            };
            self.line.note_refused(answered);
            taken.retain(|taken| taken.guard.is_held());
            if !turnstile.is_held() {
                return Ok(None);
            }
            if taken.len() == count as usize {
                return Ok(Some(taken));
            }
            let pause = (waited / 8).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
            tokio::select! {
                () = freed => {}
                () = turnstile.lost() => {}
                () = self.locks.sleep(pause) => waited += pause,
            }
        }
    }

    /// Takes free permits until there are this many. No other caller may take any meanwhile.
    async fn take_free(&self, count: u32, taken: &mut Vec<Taken>) -> Result<()> {
        let count = count as usize;
        let slots: Vec<_> = self.slots_in_turn().collect();
        for slots in slots.chunks(BATCH) {
            if taken.len() >= count {
                break;
            }
            let tries = slots.iter().map(|&slot| async move {
                let guard = self.permit(slot).try_write().await?;
                Ok(guard.map(|guard| Taken { slot, guard }))
            });
            let mut failed = None;
            for tried in together(tries).await {
                match tried {
                    Ok(tried) => taken.extend(tried),
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            // More tries than are needed may find no room below `max_locks`.
            if let Some(error) = failed.filter(|_| taken.len() < count) {
                return Err(error);
            }
            if taken.len() > count {
                give_back(taken.split_off(count)).await;
            }
        }
        Ok(())
    }

    fn permit(&self, slot: u32) -> Box<dyn DistributedRwLock> {
        self.locks.rwlock(self.keys.permit(slot))
    }

    /// All slots, starting from a random one, so that processes do not try the same ones at the
    /// same time.
    fn slots_in_turn(&self) -> impl Iterator<Item = u32> + use<> {
        let permits = self.permits;
        let start = (RandomState::new().hash_one(()) % u64::from(permits)) as u32;
        (0..permits).map(move |place| (start + place) % permits)
    }
}

/// Returns when the server has confirmed the release.
async fn give_back(taken: Vec<Taken>) {
    // Lost permits need no release.
    together(taken.into_iter().map(|taken| taken.guard.release())).await;
}

fn unless_timed_out<G>(acquired: Result<G>) -> Result<Option<G>> {
    match acquired {
        Ok(guard) => Ok(Some(guard)),
        Err(error) if error.kind() == ErrorKind::Timeout => Ok(None),
        Err(error) => Err(error),
    }
}
