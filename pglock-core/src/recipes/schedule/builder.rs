//! Describes a job.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::plan::Rhythm;
use super::{Job, Promise, Shared, SlotStore};
use crate::recipes::namespace;
use crate::{Error, ErrorKind, LockProvider, NamedKey, Result};

/// What happens to slots that no replica has run in time.
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
    /// None of them runs: a slot that is later than `after` is skipped.
    ///
    /// At least once, a slot whose work fails is also tried again only until then.
    Skip {
        /// How late a slot may begin.
        after: Duration,
    },
    /// The last one runs, the others are skipped. The default.
    Last,
    /// Each one runs, in order. At least once, a slot whose work fails each time keeps those behind
    /// it from running.
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
/// /// Bills each hour, also those of an outage.
/// fn billing(locks: &Locks, store: Arc<dyn SlotStore>) -> Result<Job> {
///     let job = locks.job("billing", store).every(HOUR).missed(Missed::Each);
///     // Not two at once, even if the server ends a session and the network is silent.
///     let job = job.take_over_after(Duration::from_secs(11));
///     job.grace(Duration::from_secs(20)).back_off(Duration::from_secs(5)).at_least_once()
/// }
/// ```
#[must_use = "nothing is made before the choice of a promise"]
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

    /// A slot in every period, counted from 1970-01-01 00:00:00 UTC: with 24 h, at midnight UTC.
    /// Microseconds are the smallest unit.
    pub fn every(self, period: Duration) -> Self {
        Self { period, rhythm: None, ..self }
    }

    /// Slots that much later in each period of [`every`](Self::every): with 24 h and 3 h, at 03:00
    /// UTC.
    pub fn offset(self, offset: Duration) -> Self {
        Self { offset, ..self }
    }

    /// Slots at the times of this function, instead of [`every`](Self::every). It returns the first
    /// slot after a time, or `None` if there is none any more.
    ///
    /// All replicas must compute the same times. It is called often, so it must not block.
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

    /// Slots at the times of a cron expression, instead of [`every`](Self::every), in a time zone of
    /// the IANA database such as `UTC` or `Europe/Berlin`.
    ///
    /// The five fields are minute, hour, day of the month, month and day of the week; a sixth one in
    /// front is for seconds. The crate `croner` has [all that they may
    /// contain](https://docs.rs/croner). When the clocks go forward, a fixed time that is left out
    /// counts as the moment after the gap; when they go back, a time that comes twice counts once.
    ///
    /// All replicas need the same rules for the time zone: those of their system, or those built in
    /// where it has none.
    ///
    /// # Errors
    ///
    /// If either cannot be used, [`at_most_once`](Self::at_most_once) and
    /// [`at_least_once`](Self::at_least_once) say so.
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

    /// What happens to missed slots. By default, the [last](Missed::Last) one runs.
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

    /// How long [`Job::run`] pauses when the lock is busy or something failed: by default, half a
    /// second, doubling up to 32 times this while that lasts. Each pause is shortened at random, by
    /// up to a half.
    pub fn back_off(self, first: Duration) -> Self {
        Self { back_off: first, ..self }
    }

    /// A job that records a slot before the work: no slot runs twice, and one whose replica dies is
    /// not repeated.
    ///
    /// # Errors
    ///
    /// [`InvalidOptions`](ErrorKind::InvalidOptions) if there is neither a period of at least a
    /// microsecond nor a function, the period is beyond 292 000 years, or a cron expression or its
    /// time zone cannot be used.
    pub fn at_most_once(self) -> Result<Job> {
        self.build(Promise::AtMostOnce)
    }

    /// A job that records a slot after the work has returned `Ok`: no slot is left out, and one
    /// whose replica dies runs again.
    ///
    /// # Errors
    ///
    /// The same as for [`at_most_once`](Self::at_most_once).
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
