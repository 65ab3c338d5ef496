//! Slots by cron expressions.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use croner::Cron;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::plan::Rhythm;
use crate::{Error, ErrorKind, Result};

pub(super) fn parse(expression: &str, zone: &str) -> Result<Rhythm> {
    let refused = |what: &str, text: &str, error: &dyn Display| {
        let message = format!("the {what} {text:?} of a job cannot be used: {error}");
        Error::new(ErrorKind::InvalidOptions, message)
    };
    let cron = Cron::from_str(expression)
        .map_err(|error| refused("cron expression", expression, &error))?;
    let zone = TimeZone::get(zone).map_err(|error| refused("time zone", zone, &error))?;
    Ok(Rhythm::Times(Arc::new(move |after| {
        let after = Timestamp::try_from(after).ok()?.to_zoned(zone.clone());
        let next = cron.find_next_occurrence(&after, false).ok()?;
        Some(next.timestamp().into())
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipes::schedule::Slot;

    fn at(time: &str) -> Slot {
        Slot::from_time(time.parse::<Timestamp>().unwrap().into())
    }

    /// The first slots after a time.
    fn slots<const N: usize>(expression: &str, zone: &str, after: &str) -> [Slot; N] {
        let rhythm = parse(expression, zone).unwrap();
        let mut last = at(after);
        [(); N].map(|()| {
            last = rhythm.next(last).unwrap();
            last
        })
    }

    #[test]
    fn slots_are_those_of_the_expression() {
        let nights = ["2026-03-06T03:30:00Z", "2026-03-09T03:30:00Z"].map(at);
        assert_eq!(slots("30 3 * * MON-FRI", "UTC", "2026-03-05T03:30:00Z"), nights);
        let seconds = ["2026-01-01T00:00:20Z", "2026-01-01T00:00:40Z"].map(at);
        assert_eq!(slots("*/20 * * * * *", "UTC", "2026-01-01T00:00:00.5Z"), seconds);
        let last = at("1969-12-31T23:59:59.5Z");
        let rhythm = parse("* * * * * *", "UTC").unwrap();
        assert_eq!(rhythm.next(last), Some(at("1970-01-01T00:00:00Z")));
    }

    #[test]
    fn each_day_has_one_slot_when_the_clocks_change() {
        let spring =
            ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"].map(at);
        assert_eq!(slots("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z"), spring);
        let autumn =
            ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"].map(at);
        assert_eq!(slots("30 2 * * *", "Europe/Berlin", "2026-10-24T00:00:00Z"), autumn);
    }

    #[test]
    fn expressions_without_a_sense_are_refused() {
        for (expression, zone) in [("", "UTC"), ("* * *", "UTC"), ("61 * * * *", "UTC")] {
            assert_eq!(parse(expression, zone).unwrap_err().kind(), ErrorKind::InvalidOptions);
        }
        let error = parse("0 0 * * *", "Europe/Atlantis").unwrap_err();
        assert!(error.to_string().contains("Europe/Atlantis"), "{error}");
        assert_eq!(parse("0 0 30 2 *", "UTC").unwrap().next(at("2026-01-01T00:00:00Z")), None);
    }
}
