//! The engine's time.

use std::time::Duration;

use tokio::time::Instant;

/// Counts from the start of the engine, the time that the machine was suspended included, as the server's clock has gone on, too.
///
/// Timers run by tokio's clock, which may be paused in a test or stand still while the machine is suspended, so the later of both counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    uptime: Duration,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now(), uptime: uptime() }
    }

    pub(crate) fn now(&self) -> Duration {
        // Where every order of threads is tried, each must be the same every time.
        if cfg!(pglock_loom) {
            return Duration::from_secs(1);
        }
        self.start.elapsed().max(uptime().saturating_sub(self.uptime))
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
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(clock.now() >= Duration::from_secs(3600));
        assert!(clock.instant(clock.now()) <= Instant::now());
    }
}
