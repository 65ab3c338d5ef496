//! The slot of a job: the time for which a run is scheduled.

use std::time::{Duration, SystemTime};

/// A slot of a job: the time for which a run is scheduled, in microseconds since 1970, by the clock
/// of the store.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use pglock_core::recipes::schedule::Slot;
///
/// let slot = Slot::from_micros(1_700_000_000_000_000);
/// assert_eq!(slot.time(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
/// assert_eq!(Slot::from_time(slot.time()), slot);
/// assert_eq!(slot.as_micros(), 1_700_000_000_000_000);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(i64);

impl Slot {
    /// The slot at this time, in microseconds since 1970.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Its time, in microseconds since 1970. A number that names the run, for example in the key of
    /// an idempotent request.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The slot at this time, rounded down to a microsecond.
    pub fn from_time(time: SystemTime) -> Self {
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => Self(micros(since)),
            Err(before) => {
                let before = before.duration();
                let part = i64::from(before.subsec_nanos() % 1000 != 0);
                Self((-micros(before)).saturating_sub(part))
            }
        }
    }

    /// Its time. A time that this system cannot express counts as 1970.
    pub fn time(self) -> SystemTime {
        let span = Duration::from_micros(self.0.unsigned_abs());
        let time = match self.0 {
            0.. => SystemTime::UNIX_EPOCH.checked_add(span),
            _ => SystemTime::UNIX_EPOCH.checked_sub(span),
        };
        time.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// How long it is from an earlier time until this one; zero if that time is not earlier.
    pub(super) fn since(self, earlier: Self) -> Duration {
        let micros = i128::from(self.0) - i128::from(earlier.0);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    /// The time this long before.
    pub(super) fn before(self, span: Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_down() {
        let time = |nanos| SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos);
        assert_eq!(Slot::from_time(time(1_999)), Slot(1));
        let before = |nanos| SystemTime::UNIX_EPOCH - Duration::from_nanos(nanos);
        assert_eq!(Slot::from_time(before(1)), Slot(-1));
        assert_eq!(Slot::from_time(before(2_000)), Slot(-2));
        assert_eq!(Slot::from_time(Slot(-2).time()), Slot(-2));
    }

    #[test]
    fn extreme_slots_do_not_overflow() {
        assert_eq!(Slot(i64::MIN).since(Slot(i64::MAX)), Duration::ZERO);
        assert!(Slot(i64::MAX).since(Slot(i64::MIN)) > Duration::from_micros(u64::MAX >> 1));
        assert_eq!(Slot(i64::MIN).before(Duration::MAX), Slot(i64::MIN));
        let _ = (Slot(i64::MAX).time(), Slot(i64::MIN).time());
    }
}
