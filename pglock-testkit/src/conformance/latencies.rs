//! Measured durations, and bounds on them.

use std::time::Duration;
use std::vec;

/// How long each repetition of an action took.
#[derive(Debug, Default)]
pub(super) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(super) fn push(&mut self, latency: Duration) {
        self.0.push(latency);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn longest(&self) -> Duration {
        self.0.iter().copied().max().unwrap_or_default()
    }

    /// Prints the figures, and checks the longest against a bound that holds on a busy machine.
    pub(super) fn assert_below(self, what: &str, bound: Duration) {
        self.assert_percentile_below(what, 100, bound);
    }

    /// Prints the figures, and checks a percentile against a bound.
    pub(super) fn assert_percentile_below(mut self, what: &str, percent: usize, bound: Duration) {
        self.0.sort_unstable();
        let [p50, p99, max] = [50, 99, 100].map(|percent| self.percentile(percent));
        println!("{what}: p50 {p50:.1?}, p99 {p99:.1?}, max {max:.1?} of {}", self.0.len());
        let longest = self.percentile(percent);
        assert!(longest <= bound, "{what}: {percent} % take {longest:?}, not {bound:?}");
    }

    /// The shortest duration that this percentage does not exceed.
    fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0[rank - 1]
    }
}

impl FromIterator<Duration> for Latencies {
    fn from_iter<I: IntoIterator<Item = Duration>>(latencies: I) -> Self {
        Self(latencies.into_iter().collect())
    }
}

impl IntoIterator for Latencies {
    type Item = Duration;
    type IntoIter = vec::IntoIter<Duration>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
