//! Publishes waits for permits and failures through the crate `metrics`.

use std::sync::OnceLock;
use std::time::Instant;

use metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_histogram, histogram};

use crate::{Error, ErrorKind};

/// What is measured of a semaphore.
pub(super) struct Meters {
    semaphore: Box<str>,
    /// From the first call on.
    wait: OnceLock<Histogram>,
}

/// Runs while a caller waits.
pub(super) struct WaitTimer<'a> {
    meters: &'a Meters,
    wait: &'a Histogram,
    since: Instant,
}

impl Meters {
    pub(super) fn new(semaphore: &str) -> Self {
        Self { semaphore: semaphore.into(), wait: OnceLock::new() }
    }

    pub(super) fn start_wait(&self) -> WaitTimer<'_> {
        let wait = self.wait.get_or_init(|| {
            describe();
            // A counter that begins above zero shows no increase.
            for kind in ErrorKind::LABELS {
                self.failures(kind).increment(0);
            }
            histogram!("pglock_semaphore_wait_seconds", "semaphore" => self.semaphore.to_string())
        });
        WaitTimer { meters: self, wait, since: Instant::now() }
    }

    fn failures(&self, kind: &'static str) -> Counter {
        let name = self.semaphore.to_string();
        counter!("pglock_semaphore_failures_total", "semaphore" => name, "kind" => kind)
    }
}

impl WaitTimer<'_> {
    /// Records what came of the wait: whether the caller has a permit. Nothing if it only tried and
    /// has none.
    pub(super) fn end(self, acquired: Result<bool, &Error>) {
        match acquired {
            Ok(true) => self.wait.record(self.since.elapsed()),
            Ok(false) => {}
            Err(error) => self.meters.failures(error.kind().label()).increment(1),
        }
    }
}

/// The documentation of the module `semaphore` lists the names.
fn describe() {
    describe_histogram!(
        "pglock_semaphore_wait_seconds",
        Unit::Seconds,
        "How long callers waited for the permits that they got"
    );
    describe_counter!(
        "pglock_semaphore_failures_total",
        Unit::Count,
        "Calls for permits that ended with an error, by kind"
    );
}
