//! What a slice measured.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::check::Run;

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) seconds: f64,
    /// Operations done by each task.
    pub(crate) task_ops: Vec<u64>,
    pub(crate) latencies: Latencies,
    pub(crate) connections: u64,
    /// Figures of this workload alone, by their names in the report.
    pub(crate) figures: BTreeMap<String, f64>,
    /// What stopped a subject that reached its limit.
    pub(crate) limit: Option<String>,
    /// How long a writer of another process waited.
    pub(crate) other_writer: Option<Latencies>,
    /// When this process held the key, where several want it.
    pub(crate) runs: Vec<Run>,
}

impl Outcome {
    pub(crate) fn new(seconds: f64, task_ops: Vec<u64>, latencies: Latencies) -> Self {
        Self {
            seconds,
            task_ops,
            latencies,
            connections: 0,
            figures: BTreeMap::new(),
            limit: None,
            other_writer: None,
            runs: Vec::new(),
        }
    }

    pub(crate) fn figure(&mut self, name: &str, value: f64) {
        self.figures.insert(name.to_owned(), value);
    }

    pub(crate) fn ops_per_s(&self) -> f64 {
        self.task_ops.iter().sum::<u64>() as f64 / self.seconds
    }
}

/// Times in a histogram of limited size, precise to one per cent.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Self {
        let longest = Duration::from_secs(600).as_nanos() as u64;
        Self(Histogram::new_with_bounds(1, longest, 2).expect("the bounds are in range"))
    }

    pub(crate) fn record(&mut self, time: Duration) {
        self.0.saturating_record(time.as_nanos() as u64);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// The value that this share of the times does not exceed.
    pub(crate) fn quantile_us(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64 / 1e3
    }

    pub(crate) fn max_us(&self) -> f64 {
        self.0.max() as f64 / 1e3
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.len()
    }
}

impl From<Vec<(u64, u64)>> for Latencies {
    fn from(counts: Vec<(u64, u64)>) -> Self {
        let mut latencies = Self::new();
        for (value, count) in counts {
            latencies.0.saturating_record_n(value, count);
        }
        latencies
    }
}

impl From<Latencies> for Vec<(u64, u64)> {
    fn from(latencies: Latencies) -> Self {
        let recorded = latencies.0.iter_recorded();
        recorded.map(|step| (step.value_iterated_to(), step.count_at_value())).collect()
    }
}
