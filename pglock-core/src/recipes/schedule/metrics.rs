//! Publishes the runs of a job through the crate `metrics`.

use std::time::{Instant, SystemTime};

use metrics::{Counter, Gauge, Unit, counter, gauge, histogram};
use metrics::{describe_counter, describe_gauge, describe_histogram};

use super::Record;

/// The values of the label `result`.
const RESULTS: [&str; 5] = ["done", "failed", "panicked", "lost", "stopped"];

/// Describes the figures, and publishes that no run is in progress and that none has ended: a
/// counter that begins above zero shows no increase. The documentation of the module `schedule`
/// lists the names.
pub(super) fn register(job: &str) {
    describe_gauge!(
        "pglock_job_last_slot_timestamp_seconds",
        Unit::Seconds,
        "The last settled slot of a job, in seconds since 1970, as this process saw it last"
    );
    describe_counter!(
        "pglock_job_runs_total",
        Unit::Count,
        "Runs of a job that have ended in this process, by result"
    );
    describe_gauge!("pglock_job_running", Unit::Count, "Runs of a job in this process: 0 or 1");
    describe_histogram!("pglock_job_run_seconds", Unit::Seconds, "How long runs of a job took");
    gauge!("pglock_job_running", "job_name" => job.to_owned()).increment(0.0);
    for result in RESULTS {
        runs(job, result).increment(0);
    }
}

fn runs(job: &str, result: &'static str) -> Counter {
    // A label `job` would collide with that of Prometheus, which names the service.
    counter!("pglock_job_runs_total", "job_name" => job.to_owned(), "result" => result)
}

/// Publishes the last settled slot.
pub(super) fn saw(job: &str, record: Option<Record>) {
    if let Some(record) = record {
        let time = record.slot.time().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let gauge = gauge!("pglock_job_last_slot_timestamp_seconds", "job_name" => job.to_owned());
        gauge.set(time.as_secs_f64());
    }
}

/// A run, which is published when this is dropped.
pub(super) struct Running {
    job: String,
    result: &'static str,
    begin: Instant,
    running: Gauge,
}

impl Running {
    pub(super) fn new(job: &str) -> Self {
        let job = job.to_owned();
        let running = gauge!("pglock_job_running", "job_name" => job.clone());
        running.increment(1.0);
        Self { job, result: "stopped", begin: Instant::now(), running }
    }

    /// How the run ended: without this call, it was stopped.
    pub(super) fn end(mut self, result: &'static str) {
        self.result = result;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.running.decrement(1.0);
        runs(&self.job, self.result).increment(1);
        let time = self.begin.elapsed().as_secs_f64();
        histogram!("pglock_job_run_seconds", "job_name" => self.job.clone()).record(time);
    }
}
