//! The engine's time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::Instant;

/// Counts from the start of the engine, the time that the machine was suspended included, as the
/// server's clock has gone on, too.
///
/// Timers run by tokio's clock. A test can pause it, if its runtime has one thread; there, the
/// later of both counts.
#[derive(Debug)]
pub(crate) struct Clock {
    uptime: Duration,
    start: Instant,
    /// Whether tokio's clock cannot be paused, and so is never ahead: to read one clock is enough.
    is_real: AtomicBool,
}

impl Clock {
    pub(crate) fn start() -> Self {
        // In this order, so that tokio's clock is not ahead by what passes between the two.
        Self { uptime: uptime(), start: Instant::now(), is_real: AtomicBool::new(false) }
    }

    /// Timers run on this runtime from now on.
    pub(crate) fn runs_on(&self, runtime: &Handle) {
        // tokio refuses to pause the clock of any other.
        let is_real = runtime.runtime_flavor() != RuntimeFlavor::CurrentThread;
        self.is_real.store(is_real, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> Duration {
        // Where every order of threads is tried, each must be the same every time.
        if cfg!(pglock_loom) {
            return Duration::from_secs(1);
        }
        if self.is_real.load(Ordering::Relaxed) {
            return self.passed();
        }
        self.start.elapsed().max(self.passed())
    }

    fn passed(&self) -> Duration {
        uptime().saturating_sub(self.uptime)
    }

    /// When a timer has to end that wakes at this time, unless the machine is suspended.
    pub(crate) fn instant(&self, at: Duration) -> Instant {
        Instant::now() + at.saturating_sub(self.now())
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
        clock.runs_on(&Handle::current());
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(clock.now() >= Duration::from_secs(3600));
        assert!(clock.instant(clock.now()) <= Instant::now());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn tokio_s_clock_is_never_ahead() {
        let clock = Clock::start();
        for _ in 0..1000 {
            assert!(clock.start.elapsed() <= clock.passed());
        }
        clock.runs_on(&Handle::current());
        let before = clock.now();
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(clock.now() >= before + Duration::from_millis(2));
    }
}
