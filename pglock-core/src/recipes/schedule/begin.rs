//! The steps before and after the work, which both ways to run a job share.

use std::time::{Duration, Instant};

use tracing::warn;

use super::plan::{Plan, plan, wait};
use super::{Job, Promise, Record, Slot};
use crate::recipes::pauses::{Pauses, is_final};
use crate::{Error, Result, WriteGuard, timer};

/// The result of a replica's attempt to begin a slot.
pub(super) enum Step {
    Begun(Begun),
    /// How long it is until the next slot, if there is one.
    NotDue(Option<Duration>),
    Busy,
}

/// A slot that this replica runs.
pub(super) struct Begun {
    pub(super) guard: WriteGuard,
    pub(super) slot: Slot,
    /// The record that this replica made when it began, unless that settled the slot.
    pub(super) claimed: Option<Record>,
}

impl Job {
    pub(super) async fn begin(&self) -> Result<Step> {
        let job = &self.shared;
        if let Err(next) = self.look().await? {
            return Ok(Step::NotDue(next));
        }
        let Some(guard) = job.lock.try_write().await? else {
            return Ok(Step::Busy);
        };
        let due = guard.protect(async {
            if !job.take_over_after.is_zero() {
                timer::sleep(job.take_over_after)?.await;
            }
            self.claim().await
        });
        match due.await?? {
            Ok((claimed, slot)) => Ok(Step::Begun(Begun { guard, slot, claimed })),
            Err(next) => {
                // A loss does not matter any more.
                let _ = guard.release().await;
                Ok(Step::NotDue(next))
            }
        }
    }

    /// The record and the slot that is due, or how long it is until the next one.
    async fn look(&self) -> Result<Result<(Record, Slot), Option<Duration>>> {
        let job = &self.shared;
        let look = job.store.look(&job.name).await?;
        #[cfg(feature = "metrics")]
        super::metrics::saw(&job.name, look.record);
        Ok(match plan(&job.rhythm, job.missed, look) {
            Plan::Due { seen, slot } => Ok((seen, slot)),
            Plan::Wait(next) => Err(next),
            Plan::First => {
                // If another replica was first, its record counts.
                job.store.replace(&job.name, None, Record::after(None, look.now)).await?;
                Err(wait(&job.rhythm, look.now, look.now))
            }
        })
    }

    /// Under the lock, before the work: looks again, and replaces the record. For an at-most-once
    /// job, that settles the slot. For an at-least-once job, it keeps earlier holders of the lock
    /// from settling the slot.
    async fn claim(&self) -> Result<Result<(Option<Record>, Slot), Option<Duration>>> {
        let job = &self.shared;
        let (seen, slot) = match self.look().await? {
            Ok(due) => due,
            Err(next) => return Ok(Err(next)),
        };
        let (next, claimed) = match job.promise {
            Promise::AtMostOnce => (Record::after(Some(seen), slot), None),
            Promise::AtLeastOnce => {
                let claimed = Record::after(Some(seen), seen.slot);
                (claimed, Some(claimed))
            }
        };
        let is_ours = job.store.replace(&job.name, Some(seen), next).await?;
        // Otherwise, another replica has changed the record since: look again.
        Ok(if is_ours { Ok((claimed, slot)) } else { Err(Some(Duration::ZERO)) })
    }

    /// Settles a slot whose work is done, if it is not settled yet. While the store cannot be
    /// reached, it tries again as long as the lock is held.
    pub(super) async fn settle(&self, begun: &Begun) -> Result<()> {
        let job = &self.shared;
        let Some(claimed) = begun.claimed else { return Ok(()) };
        let mut pauses = Pauses::new(job.back_off);
        let settled = begun.guard.protect(async {
            loop {
                let begin = Instant::now();
                match self.try_to_settle(claimed, begun.slot).await {
                    Ok(true) => return Ok(()),
                    Ok(false) => return Err(Error::slot_taken_over()),
                    Err(error) if is_final(&error) => return Err(error),
                    Err(error) => {
                        warn!(job = &*job.name, %error, "cannot record the slot now: trying again");
                    }
                }
                timer::sleep(pauses.after(begin.elapsed()))?.await;
            }
        });
        settled.await?
    }

    /// Settles a slot, unless another replica has begun it since.
    async fn try_to_settle(&self, claimed: Record, slot: Slot) -> Result<bool> {
        let job = &self.shared;
        let settled = Record::after(Some(claimed), slot);
        if job.store.replace(&job.name, Some(claimed), settled).await? {
            return Ok(true);
        }
        // An earlier attempt of this replica, whose reply was lost, may have settled it.
        let look = job.store.look(&job.name).await?;
        Ok(look.record.is_some_and(|record| record.slot >= slot))
    }
}
