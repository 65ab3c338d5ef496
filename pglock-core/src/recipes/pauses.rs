//! How long a recipe pauses before it tries again, and when it does not.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::{Error, ErrorKind};

/// The longest pause, as a multiple of the first.
const GROWTH: u32 = 32;
/// Work that ends at once must not spin.
const SHORTEST: Duration = Duration::from_millis(1);
/// The number of steps into which the random half of a pause is divided.
const STEPS: u32 = 1024;

/// Pauses that double while the time between them is shorter than they are.
pub(super) struct Pauses {
    first: Duration,
    last: Duration,
}

impl Pauses {
    pub(super) fn new(first: Duration) -> Self {
        Self { first: first.max(SHORTEST), last: Duration::ZERO }
    }

    /// The pause after a term or an attempt that took this long.
    pub(super) fn after(&mut self, time: Duration) -> Duration {
        let random = RandomState::new().hash_one(()) as u32;
        jitter(self.next(time), random)
    }

    fn next(&mut self, time: Duration) -> Duration {
        let longest = self.first.saturating_mul(GROWTH);
        self.last = match time >= self.last {
            true => self.first,
            false => self.last.saturating_mul(2).min(longest),
        };
        self.last
    }
}

/// A random time between half of the pause and all of it, so that processes that began together
/// drift apart.
fn jitter(pause: Duration, random: u32) -> Duration {
    pause / 2 + pause / 2 / STEPS * (random % (STEPS + 1))
}

/// Whether trying again cannot succeed.
pub(super) fn is_final(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Closed
            | ErrorKind::NoRuntime
            | ErrorKind::InvalidOptions
            | ErrorKind::KeyCollision
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(500);

    #[test]
    fn pauses_double_while_terms_are_short() {
        let mut pauses = Pauses::new(FIRST);
        let short: Vec<_> = (0..8).map(|_| pauses.next(Duration::from_millis(1))).collect();
        assert_eq!(short, [1, 2, 4, 8, 16, 32, 32, 32].map(|times| FIRST * times));
        // As long as the previous one.
        assert_eq!(pauses.next(FIRST * 32), FIRST);
        assert_eq!(pauses.next(FIRST - Duration::from_nanos(1)), FIRST * 2);
    }

    #[test]
    fn pauses_vary_by_half() {
        assert_eq!(jitter(FIRST, 0), FIRST / 2);
        let longest = jitter(FIRST, STEPS);
        assert!(longest <= FIRST && longest > FIRST - Duration::from_millis(1));
        let mut pauses = Pauses::new(FIRST);
        let some: std::collections::BTreeSet<_> = (0..64).map(|_| pauses.after(FIRST)).collect();
        assert!(some.len() > 8);
    }

    #[test]
    fn extreme_pauses_neither_spin_nor_overflow() {
        assert!(Pauses::new(Duration::ZERO).after(Duration::ZERO) >= SHORTEST / 2);
        let mut pauses = Pauses::new(Duration::MAX);
        for _ in 0..3 {
            assert!(pauses.after(Duration::ZERO) >= Duration::MAX / 2);
        }
    }
}
