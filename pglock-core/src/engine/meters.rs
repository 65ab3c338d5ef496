//! Measures how long callers wait for locks and hold them, and counts failures.
//! `unmetered` has the same functions without the feature `metrics`.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use metrics::{Counter, Histogram, counter, histogram};

use super::runtime::metrics::{describe, label};
use crate::error::{Error, ErrorKind, Result};
use crate::mode::Mode;

/// What is measured of a manager.
pub(crate) struct Meters {
    application_name: Arc<str>,
    /// From the first acquire on.
    series: OnceLock<Series>,
}

struct Series {
    read: Times,
    write: Times,
}

#[derive(Clone)]
struct Times {
    wait: Histogram,
    hold: Histogram,
}

/// Runs while a caller waits.
pub(crate) struct WaitTimer {
    times: Times,
    since: Instant,
}

/// Runs while a guard holds a lock, and is recorded when it is dropped.
pub(crate) struct HoldTimer {
    hold: Histogram,
    since: Instant,
}

impl Meters {
    pub(crate) fn new(application_name: Arc<str>) -> Self {
        Self { application_name, series: OnceLock::new() }
    }

    /// Describes the figures, and publishes that nothing has failed: a counter that begins above
    /// zero shows no increase. Call this when the manager starts.
    pub(crate) fn register(&self) {
        describe();
        for kind in ErrorKind::LABELS {
            self.failures(kind).increment(0);
        }
    }

    pub(crate) fn start_wait(&self, mode: Mode) -> WaitTimer {
        WaitTimer { times: self.times(mode).clone(), since: Instant::now() }
    }

    /// Records what came of the wait. Nothing if the lock is busy.
    pub(crate) fn end_wait<T>(
        &self,
        wait: WaitTimer,
        acquired: &Result<Option<T>>,
    ) -> Option<HoldTimer> {
        match acquired {
            Ok(None) => None,
            Ok(Some(_)) => {
                let now = Instant::now();
                wait.times.wait.record(now.duration_since(wait.since));
                Some(HoldTimer { hold: wait.times.hold, since: now })
            }
            Err(error) => {
                self.count_failure(error);
                None
            }
        }
    }

    pub(crate) fn start_hold(&self, mode: Mode) -> HoldTimer {
        HoldTimer { hold: self.times(mode).hold.clone(), since: Instant::now() }
    }

    pub(crate) fn count_failure(&self, error: &Error) {
        self.failures(error.kind().label()).increment(1);
    }

    fn failures(&self, kind: &'static str) -> Counter {
        let name = label(&self.application_name).to_owned();
        counter!("pglock_failures_total", "application_name" => name, "kind" => kind)
    }

    fn times(&self, mode: Mode) -> &Times {
        let series = self.series.get_or_init(|| {
            let name = label(&self.application_name);
            Series { read: Times::new(name, "read"), write: Times::new(name, "write") }
        });
        match mode {
            Mode::Read => &series.read,
            Mode::Write => &series.write,
        }
    }
}

impl Times {
    fn new(name: &str, mode: &'static str) -> Self {
        let name = || name.to_owned();
        Self {
            wait: histogram!("pglock_wait_seconds", "application_name" => name(), "mode" => mode),
            hold: histogram!("pglock_hold_seconds", "application_name" => name(), "mode" => mode),
        }
    }
}

impl Drop for HoldTimer {
    fn drop(&mut self) {
        self.hold.record(self.since.elapsed());
    }
}
