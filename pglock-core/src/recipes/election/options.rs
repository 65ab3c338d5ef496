//! Options of a candidate.

use std::time::Duration;

use super::Election;

#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) take_over_after: Duration,
    pub(super) grace: Duration,
    pub(super) back_off: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            // The time that a leader needs to notice that the server has ended its session.
            take_over_after: Duration::from_millis(50),
            grace: Duration::ZERO,
            back_off: Duration::from_millis(500),
        }
    }
}

impl Election {
    /// How long a new leader waits, while it already holds the lock, before it leads: 50 ms by
    /// default.
    ///
    /// If the server ended the session of the predecessor, the predecessor needs this time to
    /// notice it and to stop its work: see [the
    /// module](crate::recipes::election#one-leader-at-a-time).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(locks: pglock_core::Locks) {
    /// use std::time::Duration;
    ///
    /// // With the default guard lease of 10 s, no two leaders work at once, even if the server ends a
    /// // session and the network is silent.
    /// let election = locks.election("billing").take_over_after(Duration::from_secs(11));
    /// # drop(election);
    /// # }
    /// ```
    #[must_use]
    pub fn take_over_after(self, delay: Duration) -> Self {
        Self { options: Options { take_over_after: delay, ..self.options }, ..self }
    }

    /// How long the work of [`run`](Self::run) may continue when the application shuts down. By
    /// default, `run` drops it at its next `await`.
    ///
    /// [`Term::stopping`](super::Term::stopping) tells the work that this time has begun. The
    /// candidate leads until the work has ended.
    #[must_use]
    pub fn grace(self, period: Duration) -> Self {
        Self { options: Options { grace: period, ..self.options }, ..self }
    }

    /// How long [`run`](Self::run) pauses after a term, or after a failed campaign: half a second
    /// by default.
    ///
    /// While terms are shorter than the last pause, the pauses double, up to 32 times the first.
    /// Each pause is shortened at random, by up to a half.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(locks: pglock_core::Locks) {
    /// use std::time::Duration;
    ///
    /// // Pauses of 2 s, and up to 64 s while the work fails at once.
    /// let election = locks.election("importer").back_off(Duration::from_secs(2));
    /// # drop(election);
    /// # }
    /// ```
    #[must_use]
    pub fn back_off(self, first: Duration) -> Self {
        Self { options: Options { back_off: first, ..self.options }, ..self }
    }
}
