//! Describes a job.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::plan::Rhythm;
use super::{Job, Promise, Shared, SlotStore};
use crate::recipes::namespace;
use crate::{Error, ErrorKind, LockProvider, NamedKey, Result};

/// What happens to slots that no replica ran in time.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use pglock_core::recipes::schedule::{JobBuilder, Missed};
///
/// /// A backup that nobody wants in the morning.
/// fn at_night_only(job: JobBuilder) -> JobBuilder {
///     job.missed(Missed::Skip { after: Duration::from_secs(3 * 3600) })
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Missed {
    /// The last one runs if it is less than `after` late; the others are skipped.
    ///
    /// An at-least-once job also repeats failed work only until then.
    Skip {
        /// How late a slot may begin.
        after: Duration,
    },
    /// The last one runs, the others are skipped. The default.
    Last,
    /// Each one runs, in order. In an at-least-once job, a slot whose work always fails keeps the
    /// later ones from running.
    Each,
}

/// Describes a [`Job`]. Ends with the choice between [at most once](Self::at_most_once) and [at
/// least once](Self::at_least_once).
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use pglock_core::recipes::schedule::{Job, Missed, SlotStore};
/// use pglock_core::{Locks, Result};
///
/// const HOUR: Duration = Duration::from_secs(3600);
///
/// /// Sends reminders at 07:00 UTC, or not at all if that is not possible by 09:00.
/// fn reminders(locks: &Locks, store: Arc<dyn SlotStore>) -> Result<Job> {
///     let job = locks.job("reminders", store).every(24 * HOUR).offset(7 * HOUR);
///     job.missed(Missed::Skip { after: 2 * HOUR }).at_most_once()
/// }
///
/// /// Bills each hour, even those of an outage.
/// fn billing(locks: &Locks, store: Arc<dyn SlotStore>) -> Result<Job> {
///     let job = locks.job("billing", store).every(HOUR).missed(Missed::Each);
///     // Not two at once, even if the server ends a session and the network is silent.
///     let job = job.take_over_after(Duration::from_secs(11));
///     job.grace(Duration::from_secs(20)).back_off(Duration::from_secs(5)).at_least_once()
/// }
/// ```
#[must_use = "only `at_most_once` or `at_least_once` makes the job"]
pub struct JobBuilder {
    locks: Arc<dyn LockProvider>,
    name: String,
    store: Arc<dyn SlotStore>,
    rhythm: Option<Result<Rhythm>>,
    period: Duration,
    offset: Duration,
    missed: Missed,
    take_over_after: Duration,
    grace: Duration,
    back_off: Duration,
}

impl JobBuilder {
    pub(super) fn new(locks: Arc<dyn LockProvider>, name: &str, store: Arc<dyn SlotStore>) -> Self {
        Self {
            locks,
            name: name.to_owned(),
            store,
            rhythm: None,
            period: Duration::ZERO,
            offset: Duration::ZERO,
            missed: Missed::Last,
            take_over_after: Duration::from_millis(50),
            grace: Duration::ZERO,
            back_off: Duration::from_millis(500),
        }
    }

    /// Makes one slot per period, counted from 1970-01-01 00:00:00 UTC: with 24 h, at midnight UTC.
    /// Fractions of a microsecond are dropped.
    pub fn every(self, period: Duration) -> Self {
        Self { period, rhythm: None, ..self }
    }

    /// Makes the slots of [`every`](Self::every) later by this time: with 24 h and 3 h, at 03:00
    /// UTC.
    pub fn offset(self, offset: Duration) -> Self {
        Self { offset, ..self }
    }

    /// Makes slots at the times of a function, instead of [`every`](Self::every). Given a time, the
    /// function returns the first slot after it, or `None` if there are no more.
    ///
    /// It must compute the same times in all replicas, and must not block, because it is called
    /// often.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    ///
    /// use pglock_core::Result;
    /// use pglock_core::recipes::schedule::{Job, JobBuilder};
    ///
    /// /// Once, at this time.
    /// fn once(job: JobBuilder, time: SystemTime) -> Result<Job> {
    ///     job.at(move |after| (after < time).then_some(time)).at_least_once()
    /// }
    /// ```
    pub fn at(
        self,
        next: impl Fn(SystemTime) -> Option<SystemTime> + Send + Sync + 'static,
    ) -> Self {
        Self { rhythm: Some(Ok(Rhythm::Times(Arc::new(next)))), ..self }
    }

    /// Makes slots at the times of a cron expression, instead of [`every`](Self::every), in a time
    /// zone of the IANA database such as `UTC` or `Europe/Berlin`.
    ///
    /// The five fields are minute, hour, day of the month, month and day of the week; a sixth one in
    /// front is for seconds. The crate [`croner`](https://docs.rs/croner) documents what they may
    /// contain. When the clocks go forward, a fixed time that is left out counts as the moment after
    /// the gap; when they go back, a time that comes twice counts once.
    ///
    /// All replicas need the same time zone rules. These come from the system, or are built in
    /// where the system has none.
    ///
    /// # Errors
    ///
    /// [`at_most_once`](Self::at_most_once) and [`at_least_once`](Self::at_least_once) report an
    /// expression or a time zone that cannot be used.
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::Result;
    /// use pglock_core::recipes::schedule::{Job, JobBuilder};
    ///
    /// /// On weekdays at 03:30 in Berlin.
    /// fn on_weekdays(job: JobBuilder) -> Result<Job> {
    ///     job.cron("30 3 * * MON-FRI", "Europe/Berlin").at_least_once()
    /// }
    /// ```
    #[cfg(feature = "cron")]
    pub fn cron(self, expression: &str, zone: &str) -> Self {
        Self { rhythm: Some(super::cron::parse(expression, zone)), ..self }
    }

    /// Chooses what happens to missed slots. By default, the [last](Missed::Last) one runs.
    pub fn missed(self, missed: Missed) -> Self {
        Self { missed, ..self }
    }

    /// How long a replica waits, while it already holds the lock, before it looks again: 50 ms by
    /// default. As [for an election](crate::recipes::election::Election::take_over_after).
    pub fn take_over_after(self, delay: Duration) -> Self {
        Self { take_over_after: delay, ..self }
    }

    /// How long the work of [`Job::run`] may continue when the application shuts down. By default,
    /// it is dropped at its next `await`.
    pub fn grace(self, period: Duration) -> Self {
        Self { grace: period, ..self }
    }

    /// How long [`Job::run`] pauses when the lock is busy or a step has failed: half a second by
    /// default. While that lasts, the pauses double, up to 32 times the first. Each pause is
    /// shortened at random, by up to a half.
    pub fn back_off(self, first: Duration) -> Self {
        Self { back_off: first, ..self }
    }

    /// Makes a job that settles a slot before the work: no slot runs twice, and a slot whose
    /// replica dies does not run again.
    ///
    /// # Errors
    ///
    /// [`InvalidOptions`](ErrorKind::InvalidOptions) if there is neither a period of at least a
    /// microsecond nor a function, if the period is beyond 292 000 years, or if a cron expression
    /// or its time zone cannot be used.
    pub fn at_most_once(self) -> Result<Job> {
        self.build(Promise::AtMostOnce)
    }

    /// Makes a job that settles a slot after the work has returned `Ok`: a slot whose replica dies
    /// runs again.
    ///
    /// # Errors
    ///
    /// As for [`at_most_once`](Self::at_most_once).
    pub fn at_least_once(self) -> Result<Job> {
        self.build(Promise::AtLeastOnce)
    }

    fn build(self, promise: Promise) -> Result<Job> {
        let rhythm = match self.rhythm {
            Some(rhythm) => rhythm?,
            None => every(self.period, self.offset)?,
        };
        let key = NamedKey::in_namespace(namespace::SCHEDULE, &self.name);
        let shared = Shared {
            name: self.name,
            lock: self.locks.rwlock(key.clone()),
            key,
            store: self.store,
            rhythm,
            missed: self.missed,
            promise,
            take_over_after: self.take_over_after,
            grace: self.grace,
            back_off: self.back_off,
        };
        Ok(Job { shared: Arc::new(shared) })
    }
}

fn every(period: Duration, offset: Duration) -> Result<Rhythm> {
    let micros = |time: Duration| i64::try_from(time.as_micros()).ok();
    match (micros(period), micros(offset)) {
        (Some(period @ 1..), Some(offset)) => Ok(Rhythm::Every { period, offset }),
        _ => {
            let message = format!(
                "a job needs a period of at least a microsecond, not {period:?} from {offset:?}: \
                 give one with every(), or a function with at()"
            );
            Err(Error::new(ErrorKind::InvalidOptions, message))
        }
    }
}

impl fmt::Debug for JobBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}
