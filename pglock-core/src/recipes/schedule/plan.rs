//! Decides which slot is due: pure arithmetic on the times of the store.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Look, Missed, Record, Slot};

/// The shortest span in which [`Rhythm::latest`] looks for a slot.
const FIRST_SPAN: Duration = Duration::from_secs(1);

/// When the slots of a job are.
#[derive(Clone)]
pub(super) enum Rhythm {
    /// Both in microseconds; the period is positive.
    Every { period: i64, offset: i64 },
    /// The first slot after a time.
    Times(Arc<dyn Fn(SystemTime) -> Option<SystemTime> + Send + Sync>),
}

impl Rhythm {
    /// The first slot after this time.
    pub(super) fn next(&self, after: Slot) -> Option<Slot> {
        match self {
            Self::Every { period, offset } => {
                let past = after.as_micros().checked_sub(*offset)?.div_euclid(*period);
                let slot = past.checked_add(1)?.checked_mul(*period)?.checked_add(*offset)?;
                Some(Slot::from_micros(slot))
            }
            Self::Times(next) => {
                let slot = Slot::from_time(next(after.time())?);
                // A function that stands still must not make a job spin.
                (slot > after).then_some(slot)
            }
        }
    }

    /// The last slot after `after`, up to and including `now`.
    fn latest(&self, after: Slot, now: Slot) -> Option<Slot> {
        if let Self::Every { period, .. } = self {
            let slot = Slot::from_micros(self.next(now)?.as_micros().checked_sub(*period)?);
            return (slot > after).then_some(slot);
        }
        // Doubles the span that it searches, rather than passing through every slot of a long
        // outage.
        let mut span = FIRST_SPAN;
        let mut found = loop {
            let from = now.before(span).max(after);
            match self.next(from).filter(|slot| *slot <= now) {
                Some(slot) => break slot,
                None if from <= after => return None,
                None => span = span.saturating_mul(2),
            }
        };
        while let Some(later) = self.next(found).filter(|slot| *slot <= now) {
            found = later;
        }
        Some(found)
    }
}

impl fmt::Debug for Rhythm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every { period, offset } => write!(f, "every {period} us from {offset} us"),
            Self::Times(_) => f.write_str("at the times of a function"),
        }
    }
}

/// What a replica does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Plan {
    /// No replica has looked before: record the time.
    First,
    /// Run this slot.
    Due { seen: Record, slot: Slot },
    /// Wait for the next slot, if there is one.
    Wait(Option<Duration>),
}

pub(super) fn plan(rhythm: &Rhythm, missed: Missed, look: Look) -> Plan {
    let Look { now, record: Some(seen) } = look else { return Plan::First };
    let last = seen.slot;
    let due = match missed {
        Missed::Skip { after } => rhythm.latest(last.max(now.before(after)), now),
        Missed::Last => rhythm.latest(last, now),
        Missed::Each => rhythm.next(last).filter(|slot| *slot <= now),
    };
    match due {
        Some(slot) => Plan::Due { seen, slot },
        None => Plan::Wait(wait(rhythm, last.max(now), now)),
    }
}

/// How long it is until the first slot after this time.
pub(super) fn wait(rhythm: &Rhythm, after: Slot, now: Slot) -> Option<Duration> {
    rhythm.next(after).map(|slot| slot.since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn hourly() -> [Rhythm; 2] {
        let by_function = Rhythm::Times(Arc::new(|after| {
            let hours = Slot::from_time(after).as_micros().div_euclid(HOUR);
            Some(Slot::from_micros((hours + 1) * HOUR).time())
        }));
        [Rhythm::Every { period: HOUR, offset: 0 }, by_function]
    }

    fn at(hours: f64) -> Slot {
        Slot::from_micros((hours * HOUR as f64) as i64)
    }

    fn record(hours: f64) -> Record {
        Record { slot: at(hours), version: 1 }
    }

    fn plan_at(now: f64, last: f64, missed: Missed) -> [Plan; 2] {
        let look = Look { now: at(now), record: Some(record(last)) };
        hourly().map(|rhythm| plan(&rhythm, missed, look))
    }

    fn skip(minutes: u64) -> Missed {
        Missed::Skip { after: Duration::from_secs(60 * minutes) }
    }

    #[test]
    fn missed_slots_are_skipped_or_run_as_chosen() {
        let due = |slot| [Plan::Due { seen: record(2.0), slot: at(slot) }; 2];
        let wait = |hours: f64| [Plan::Wait(Some(at(hours).since(at(0.0)))); 2];
        assert_eq!(plan_at(5.5, 2.0, Missed::Each), due(3.0));
        assert_eq!(plan_at(5.5, 2.0, Missed::Last), due(5.0));
        assert_eq!(plan_at(5.5, 2.0, skip(20)), wait(0.5));
        assert_eq!(plan_at(5.25, 2.0, skip(20)), due(5.0));
        for missed in [Missed::Each, Missed::Last, skip(20)] {
            assert_eq!(plan_at(3.0, 2.0, missed), due(3.0), "at the very time");
            assert_eq!(plan_at(2.75, 2.0, missed), wait(0.25));
            // Settled by a replica whose clock was ahead.
            assert_eq!(plan_at(1.5, 4.0, missed), wait(3.5));
        }
    }

    #[test]
    fn first_look_begins_the_job() {
        let look = Look { now: at(1.5), record: None };
        assert_eq!(hourly().map(|rhythm| plan(&rhythm, Missed::Each, look)), [Plan::First; 2]);
    }

    #[test]
    fn latest_slot_of_a_long_outage_is_found() {
        for rhythm in hourly() {
            let years = at(24.0 * 3650.0 + 0.75);
            assert_eq!(rhythm.latest(at(0.0), years), Some(at(24.0 * 3650.0)));
            assert_eq!(rhythm.latest(at(24.0 * 3650.0), years), None);
        }
    }

    #[test]
    fn rhythm_that_ends_or_stands_still_waits() {
        for rhythm in [Rhythm::Times(Arc::new(|_| None)), Rhythm::Times(Arc::new(Some))] {
            for missed in [Missed::Each, Missed::Last, skip(1)] {
                let look = Look { now: at(9.0), record: Some(record(1.0)) };
                assert_eq!(plan(&rhythm, missed, look), Plan::Wait(None));
            }
        }
    }
}
