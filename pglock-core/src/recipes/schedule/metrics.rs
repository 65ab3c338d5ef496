//! Publishes the runs of a job through the crate `metrics`.

use std::time::{Instant, SystemTime};

use metrics::{Gauge, Unit, counter, gauge, histogram};
use metrics::{describe_counter, describe_gauge, describe_histogram};

use super::Record;

/// Describes the figures, and publishes that no run is in progress. The documentation of the module
/// `schedule` lists the names.
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
    gauge!("pglock_job_running", "job" => job.to_owned()).increment(0.0);
}

/// Publishes the last settled slot.
pub(super) fn saw(job: &str, record: Option<Record>) {
    if let Some(record) = record {
        let time = record.slot.time().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let gauge = gauge!("pglock_job_last_slot_timestamp_seconds", "job" => job.to_owned());
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
        let running = gauge!("pglock_job_running", "job" => job.clone());
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
        let job = || self.job.clone();
        self.running.decrement(1.0);
        counter!("pglock_job_runs_total", "job" => job(), "result" => self.result).increment(1);
        let time = self.begin.elapsed().as_secs_f64();
        histogram!("pglock_job_run_seconds", "job" => job()).record(time);
    }
}
