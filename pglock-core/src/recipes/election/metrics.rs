//! Publishes the terms of a candidate through the crate `metrics`.

use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

/// A term that is counted, and published while this exists.
pub(super) struct Published(Series);

/// The documentation of the module `election` lists the names.
struct Series {
    is_leader: Gauge,
    terms: Counter,
    last_change: Gauge,
}

/// Describes the figures, and publishes them before the first term.
pub(super) fn register(election: &str) {
    describe_gauge!(
        "pglock_election_is_leader",
        Unit::Count,
        "Candidates of this process that lead: 0 or 1"
    );
    describe_counter!(
        "pglock_election_terms_total",
        Unit::Count,
        "Terms that candidates of this process have begun"
    );
    describe_gauge!(
        "pglock_election_last_change_timestamp_seconds",
        Unit::Seconds,
        "When a term last began or ended in this process, in seconds since 1970"
    );
    let series = Series::new(election);
    series.is_leader.increment(0.0);
    series.terms.increment(0);
}

impl Published {
    pub(super) fn new(election: &str) -> Self {
        let series = Series::new(election);
        // Incremented rather than set to 1, because the process may have several candidates of this
        // name.
        series.is_leader.increment(1.0);
        series.terms.increment(1);
        series.has_changed();
        Self(series)
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.0.is_leader.decrement(1.0);
        self.0.has_changed();
    }
}

impl Series {
    fn new(election: &str) -> Self {
        let name = || election.to_owned();
        Self {
            is_leader: gauge!("pglock_election_is_leader", "election" => name()),
            terms: counter!("pglock_election_terms_total", "election" => name()),
            last_change: gauge!(
                "pglock_election_last_change_timestamp_seconds",
                "election" => name()
            ),
        }
    }

    fn has_changed(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_change.set(now.as_secs_f64());
    }
}
