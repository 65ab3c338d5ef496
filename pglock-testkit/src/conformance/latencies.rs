//! Measured durations, and bounds on them.

use std::time::Duration;

/// How long each repetition of an action took.
#[derive(Debug, Default)]
pub(super) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(super) fn push(&mut self, latency: Duration) {
        self.0.push(latency);
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
