//! The machine's time.

use std::ops::{Add, AddAssign};
use std::time::Duration;

/// A point in time, counted from the start of the engine. The machine has no clock: each event
/// brings the time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Moment(Duration);

impl Moment {
    /// The start of the engine.
    pub(crate) const START: Self = Self(Duration::ZERO);

    pub(crate) const fn after_start(time: Duration) -> Self {
        Self(time)
    }

    /// The time from the start of the engine to this moment.
    pub(crate) const fn since_start(self) -> Duration {
        self.0
    }

    /// The time from an earlier moment to this one; zero if that one is later.
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment this long before; the start if there is none.
    pub(crate) const fn before(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(time))
    }

    /// The moment this long after, if the clock counts so far.
    pub(crate) fn checked_add(self, time: Duration) -> Option<Self> {
        self.0.checked_add(time).map(Self)
    }
}

/// Stops at the last moment that the clock counts.
impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}

impl AddAssign<Duration> for Moment {
    fn add_assign(&mut self, time: Duration) {
        *self = *self + time;
    }
}
