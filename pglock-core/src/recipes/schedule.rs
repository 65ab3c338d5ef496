//! Scheduled jobs: one run for each slot, over all replicas of a service.
//!
//! Each replica runs the same schedule. For each *slot*, the time for which a run is scheduled, one
//! of them runs the work.
//!
//! ```
//! use std::convert::Infallible;
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use pglock_core::recipes::schedule::{SlotStore, Turn};
//! use pglock_core::{Locks, Result};
//!
//! const DAY: Duration = Duration::from_secs(24 * 3600);
//!
//! async fn serve(
//!     locks: &Locks,
//!     store: Arc<dyn SlotStore>,
//!     shutdown: impl Future<Output = ()>,
//! ) -> Result<()> {
//!     let job = locks.job("nightly-report", store).every(DAY).at_least_once()?;
//!     job.run(shutdown, report).await
//! }
//!
//! async fn report(turn: Turn) -> Result<(), Infallible> {
//!     println!("the report for the night of {:?}", turn.slot().time());
//!     Ok(())
//! }
//! ```
//!
//! # Lock, record and clock
//!
//! A lock alone cannot run a job once per slot: a replica whose timer fires a second later finds
//! the lock free when the work takes less than that. So there are three parts:
//!
//! * the *record* in a [`SlotStore`]: the last slot that is settled, and a version. It keeps a slot
//!   from running again. `SqlxSlots` and `DieselSlots` of the adapters keep it in a table, which
//!   their `TABLE` creates: run that with your migrations.
//! * the *clock* of the store, for PostgreSQL that of the server. Slots are times by this clock.
//!   The clocks of the replicas do not matter: a replica only measures pauses with its own.
//! * the *lock*: the replica that runs a slot holds the write lock on the key of the job. It keeps
//!   two runs from overlapping, of the same slot or of two, however long the work takes. It becomes
//!   free when its holder dies, so there is no timeout to guess.
//!
//! # At most once, or at least once
//!
//! A replica may die between the work and the record. So a job can keep only one of two promises,
//! and its builder ends with the choice:
//!
//! | | [`at_most_once`](JobBuilder::at_most_once) | [`at_least_once`](JobBuilder::at_least_once) |
//! |---|---|---|
//! | settles the slot | before the work | after the work has returned `Ok` |
//! | the work fails or panics | the slot is settled | the slot runs again, after a pause |
//! | the replica dies, or the lock is lost | the slot is settled | another replica runs it again |
//! | for | e-mails, payments | reports, work that can be repeated |
//!
//! # States and events
//!
//! A replica, in [`Job::run`]:
//!
//! | state | event | next |
//! |---|---|---|
//! | looking | there is no record yet | records the time; waiting |
//! | | no slot is due | waiting |
//! | | a slot is due | trying |
//! | waiting | the time of the slot, or a minute has passed | looking |
//! | trying | the lock is busy | pausing |
//! | | it has the lock | taking over |
//! | taking over | 50 ms have passed | looking again, under the lock |
//! | looking again | the slot is settled by now | releasing; waiting |
//! | | the slot is due | replaces the record; working |
//! | | another replica has replaced the record since | releasing; looking |
//! | working | the work returns `Ok` | at least once: settling; releasing |
//! | | the work fails or panics | releasing; pausing |
//! | settling | the slot is settled, or taken over | releasing |
//! | | the store cannot be reached | pauses under the lock; settling |
//! | releasing | the lock is free | looking, unless stated otherwise |
//! | pausing | the pause is over | looking |
//! | any under the lock | the lock is lost | drops the work; pausing |
//! | any | an error of the store or of the locks | releasing; pausing |
//! | any | shutdown | drops the work, or gives it its grace period; releasing; ends |
//!
//! The record of a job, which all replicas share. Its slot and its version only grow:
//!
//! | event | the record was | becomes |
//! |---|---|---|
//! | a replica looks for the first time | none | the time of the store: later slots run |
//! | at most once: a replica begins a slot | what it saw under the lock | this slot, the next version |
//! | at least once: a replica begins a slot | what it saw under the lock | the same slot, the next version |
//! | at least once: the work is done | what this replica made it | this slot, the next version |
//! | any of these, after another replica | anything else | stays |
//!
//! What follows from this:
//!
//! * **Once.** A replica runs a slot only if it is later than the record, and only after it has
//!   replaced that record, which exactly one replica can do. So at most once holds even if locks
//!   fail.
//! * **Settled by the last one.** A replica that lost the lock unnoticed, and whose slot another
//!   one has begun since, cannot settle the slot, however late its statement reaches the database.
//! * **Not two at a time.** The work runs in [`Lease::protect`](crate::Lease::protect), so it stops
//!   when the lock is lost. If the server itself ends the session of a live holder, the holder
//!   learns of that some milliseconds later; so a replica [waits 50
//!   ms](JobBuilder::take_over_after) under the lock before it looks again. The limits are those of
//!   [an election](crate::recipes::election#one-leader-at-a-time).
//! * **No idle traffic.** Between two slots a replica looks once a minute, and takes no lock.
//!
//! # Missed slots
//!
//! No slot runs while all replicas are down, while the database cannot be reached, or while an
//! earlier slot still runs. [`Missed`] says what happens to those slots afterwards. Slots from
//! before the first look of any replica are not missed.
//!
//! # When the clock of the database changes
//!
//! If the clock goes back, settled slots do not run again: the job waits until the clock is past
//! the record. So if the clock was ahead for a while, set the record of the job back.
//!
//! # Metrics
//!
//! With the feature `metrics`, with the name of the job as the label `job_name`. (`job` is a label of
//! Prometheus itself.)
//!
//! * the gauge `pglock_job_last_slot_timestamp_seconds`: the last settled slot, in seconds since
//!   1970, which each replica publishes when it looks. Alert if the highest one of all replicas is
//!   older than the job may be late.
//! * the counter `pglock_job_runs_total`, by the label `result`: `done`, `failed`, `panicked`,
//!   `lost`, or `stopped` by a shutdown. Alert if runs fail.
//! * the gauge `pglock_job_running`: how many runs this replica has now, 0 or 1.
//! * the histogram `pglock_job_run_seconds`: how long the runs took.

mod begin;
mod builder;
#[cfg(feature = "cron")]
mod cron;
mod memory;
#[cfg(feature = "metrics")]
mod metrics;
mod plan;
mod run;
mod slot;
mod store;
mod turn;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::builder::{JobBuilder, Missed};
pub use self::memory::MemorySlots;
use self::plan::Rhythm;
pub use self::slot::Slot;
pub use self::store::{Look, Record, SlotStore};
pub use self::turn::{Outcome, Turn};
use crate::{DistributedRwLock, LockProvider, Locks, NamedKey};

/// A job that runs once per slot, over all replicas: see the [module](self). Cheap to clone.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use pglock_core::recipes::schedule::{Job, SlotStore};
/// use pglock_core::{Locks, Result};
///
/// /// Removes expired sessions every five minutes.
/// fn expiry(locks: &Locks, store: Arc<dyn SlotStore>) -> Result<Job> {
///     locks.job("expiry", store).every(Duration::from_secs(300)).at_least_once()
/// }
/// ```
#[derive(Clone)]
pub struct Job {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    key: NamedKey,
    /// Kept so that the name of the key stays known while the job exists.
    lock: Box<dyn DistributedRwLock>,
    store: Arc<dyn SlotStore>,
    rhythm: Rhythm,
    missed: Missed,
    promise: Promise,
    take_over_after: Duration,
    grace: Duration,
    back_off: Duration,
}

/// How often a slot may run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Promise {
    AtMostOnce,
    AtLeastOnce,
}

impl Locks {
    /// Makes the builder of the job with this name. Does no I/O.
    ///
    /// The name identifies the record in the store and the lock, whose key is in a
    /// [namespace](crate::recipes#keys) of its own. All replicas must give the same name and
    /// schedule.
    pub fn job(&self, name: &str, store: Arc<dyn SlotStore>) -> JobBuilder {
        Job::builder(Arc::new(self.clone()), name, store)
    }
}

impl Job {
    /// Makes the builder of the job with this name, for the locks of any backend. Does no I/O.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    ///
    /// use pglock_core::recipes::schedule::{Job, MemorySlots};
    /// use pglock_core::{LockProvider, Result};
    ///
    /// /// A job for a unit test.
    /// fn job(locks: Arc<dyn LockProvider>) -> Result<Job> {
    ///     let store = Arc::new(MemorySlots::new());
    ///     Job::builder(locks, "job", store).every(Duration::from_millis(20)).at_most_once()
    /// }
    /// ```
    pub fn builder(
        locks: Arc<dyn LockProvider>,
        name: &str,
        store: Arc<dyn SlotStore>,
    ) -> JobBuilder {
        JobBuilder::new(locks, name, store)
    }

    /// The key whose write lock a replica holds while it runs a slot.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(
    /// #     locks: pglock_core::Locks,
    /// #     job: pglock_core::recipes::schedule::Job,
    /// # ) -> pglock_core::Result<()> {
    /// // Where the job runs now.
    /// let holders = locks.inspect(job.key().clone()).await?;
    /// # drop(holders);
    /// # Ok(())
    /// # }
    /// ```
    pub fn key(&self) -> &NamedKey {
        &self.shared.key
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("name", &self.shared.name)
            .field("rhythm", &self.shared.rhythm)
            .field("promise", &self.shared.promise)
            .finish_non_exhaustive()
    }
}
