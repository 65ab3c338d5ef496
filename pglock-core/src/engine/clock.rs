//! The engine's time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Counts from the start of the engine, the time that the machine was suspended included, as the server's clock has gone on, too.
///
/// Timers run by tokio's clock, which stands still while the machine is suspended, and which a test may pause and let jump ahead: this one
/// follows as soon as a timer tells.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Duration,
    /// By how much tokio's clock has jumped ahead, in nanoseconds.
    ahead: AtomicU64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: uptime(), ahead: AtomicU64::new(0) }
    }

    pub(crate) fn now(&self) -> Duration {
        let ahead = Duration::from_nanos(self.ahead.load(Ordering::Relaxed));
        uptime().saturating_sub(self.start) + ahead
    }

    /// When a timer has to end that wakes at this time, unless the machine is suspended.
    pub(crate) fn instant(&self, at: Duration) -> Instant {
        Instant::now() + at.saturating_sub(self.now())
    }

    /// A timer has ended that was to wake at this time.
    pub(crate) fn woken(&self, at: Duration) {
        let ahead = at.saturating_sub(self.now()).as_nanos();
        if let Ok(ahead @ 1..) = u64::try_from(ahead) {
            self.ahead.fetch_add(ahead, Ordering::Relaxed);
        }
    }
}

/// Time since the machine was started, with the time that it was suspended.
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

/// The standard library's clock counts it on Windows.
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
        let clock = Clock::start();
        let hour = Duration::from_secs(3600);
        let timer = clock.instant(hour);
        tokio::time::sleep_until(timer).await;
        clock.woken(hour);
        assert!(clock.now() >= hour);
        assert!(clock.now() < hour + Duration::from_secs(60));
        assert!(clock.instant(clock.now()) <= Instant::now());
    }

    #[test]
    fn time_that_has_passed_is_not_counted_twice() {
        let clock = Clock::start();
        while clock.now() < Duration::from_millis(1) {}
        clock.woken(Duration::from_millis(1));
        assert_eq!(clock.ahead.load(Ordering::Relaxed), 0);
    }
}
