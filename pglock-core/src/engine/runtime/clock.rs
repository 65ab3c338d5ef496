//! The engine's time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::Instant;

use crate::engine::machine::event::Moment;

/// Longer than any timer runs: a year.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Counts from the start of the engine and includes the time during which the computer is
/// suspended, because the server's clock keeps running.
///
/// On a runtime that a user names, timers run by tokio's clock, which a test can pause if the
/// runtime has one thread. There, this clock is the later of the two.
#[derive(Debug)]
pub(crate) struct Clock {
    uptime: Duration,
    /// If tokio's clock can be paused: its start, and the latest time read so far, in nanoseconds,
    /// because other threads do not see the pause.
    paused: Option<(Instant, AtomicU64)>,
}

impl Clock {
    /// `runtime`: where timers run, or `None` for the engine thread.
    pub(crate) fn start(runtime: Option<&Handle>) -> Self {
        // tokio allows pausing the clock of no other runtime.
        let can_pause = runtime.is_some_and(|r| r.runtime_flavor() == RuntimeFlavor::CurrentThread);
        // Read first, so that tokio's clock is not ahead.
        let uptime = uptime();
        Self { uptime, paused: can_pause.then(|| (now_of(runtime), AtomicU64::new(0))) }
    }

    pub(crate) fn now(&self) -> Moment {
        // When loom tries every order of threads, each run must be the same.
        if cfg!(pglock_loom) {
            return Moment::after_start(Duration::from_secs(1));
        }
        let Some((start, latest)) = &self.paused else {
            return Moment::after_start(self.passed());
        };
        let now = start.elapsed().max(self.passed());
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        Moment::after_start(Duration::from_nanos(latest.fetch_max(now, Ordering::Relaxed).max(now)))
    }

    /// Whether a test has made tokio's clock run ahead of the real one.
    pub(crate) fn is_ahead(&self) -> bool {
        self.paused.is_some() && self.now().since_start() > self.passed() + Duration::from_secs(1)
    }

    fn passed(&self) -> Duration {
        uptime().saturating_sub(self.uptime)
    }

    /// When tokio's timer must end for this time, unless the computer is suspended.
    pub(crate) fn instant(&self, at: Moment) -> Instant {
        // Longer waits wake up in between.
        Instant::now() + at.since(self.now()).min(FAR)
    }
}

fn now_of(runtime: Option<&Handle>) -> Instant {
    let _entered = runtime.map(Handle::enter);
    Instant::now()
}

/// Time since the computer was started, including the time for which it was suspended.
#[cfg(any(target_os = "android", target_os = "linux"))]
fn uptime() -> Duration {
    clock(rustix::time::ClockId::Boottime)
}

#[cfg(target_vendor = "apple")]
fn uptime() -> Duration {
    clock(rustix::time::ClockId::Monotonic)
}

#[cfg(any(target_os = "android", target_os = "linux", target_vendor = "apple"))]
fn clock(id: rustix::time::ClockId) -> Duration {
    let time = rustix::time::clock_gettime(id);
    // Neither is negative for these clocks.
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// On Windows, the standard library's clock includes that time.
#[cfg(not(any(target_os = "android", target_os = "linux", target_vendor = "apple")))]
fn uptime() -> Duration {
    static START: std::sync::LazyLock<std::time::Instant> =
        std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn paused_time_counts() {
        let clock = Clock::start(Some(&Handle::current()));
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(clock.now().since_start() >= Duration::from_secs(3600));
        assert!(clock.is_ahead());
        assert!(clock.instant(clock.now()) <= Instant::now());
    }

    #[tokio::test(start_paused = true)]
    async fn paused_time_does_not_run_back_on_other_threads() {
        let clock = Clock::start(Some(&Handle::current()));
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let here = clock.now();
        let there = std::thread::spawn(move || clock.now()).join().unwrap();
        assert!(there >= here);
    }

    #[tokio::test]
    async fn time_goes_on_without_a_runtime_that_is_named() {
        let clock = Clock::start(None);
        let before = clock.now();
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(clock.now() >= before + Duration::from_millis(2));
    }
}
