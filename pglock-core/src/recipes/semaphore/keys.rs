//! The keys of a semaphore: a block of 65 536 consecutive keys.

use crate::recipes::namespace;
use crate::{Error, ErrorKind, LockKey, NamedKey, Result};

// Frozen: programs of different versions meet on these keys, so never change them (`tests.rs` holds
// golden values).
const BLOCK: i64 = 1 << 16;
const GATE: i64 = BLOCK - 2;
const TURNSTILE: i64 = BLOCK - 1;

/// Leaves some of the block unused, and leaves room in the server's lock table.
pub(super) const MAX_PERMITS: u32 = 10_000;

#[derive(Debug)]
pub(super) struct Keys {
    base: i64,
    /// The name shown in errors.
    name: String,
}

impl Keys {
    pub(super) fn new(name: &str) -> Self {
        let derived = NamedKey::in_namespace(namespace::SEMAPHORE, name);
        // The derivation always yields a single number, not a pair.
        let hash = derived.key().as_bigint().unwrap_or_default();
        Self { base: hash & !(BLOCK - 1), name: derived.name().unwrap_or(name).to_owned() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The key of the semaphore as a whole: that of its first permit.
    pub(super) fn key(&self) -> LockKey {
        self.base.into()
    }

    /// A caller that waits for permits holds this one, or waits for it.
    pub(super) fn turnstile(&self) -> NamedKey {
        self.at(TURNSTILE, "turnstile")
    }

    /// Hides from a try the permits that another one takes and releases.
    pub(super) fn gate(&self) -> NamedKey {
        self.at(GATE, "gate")
    }

    pub(super) fn permit(&self, slot: u32) -> NamedKey {
        self.at(slot.into(), &slot.to_string())
    }

    fn at(&self, offset: i64, part: &str) -> NamedKey {
        // Below the next block, so it cannot overflow.
        LockKey::from(self.base | offset).named(format!("{}/{part}", self.name))
    }
}

/// Whether a number of permits is allowed.
pub(super) fn check(permits: u32, most: u32, what: &str) -> Result<()> {
    if (1..=most).contains(&permits) {
        return Ok(());
    }
    let message = format!("{what} 1 to {most} permits, not {permits}");
    Err(Error::new(ErrorKind::InvalidOptions, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_never_change() {
        for (name, base) in [
            ("encoders", 1788320468820361216),
            ("", 229794007603150848),
            ("漢字🔒", 4485897762098315264),
        ] {
            let keys = Keys::new(name);
            let numbers = [keys.permit(0), keys.permit(9_999), keys.gate(), keys.turnstile()]
                .map(|key| key.key().as_bigint());
            let expected = [0, 9_999, 65_534, 65_535].map(|offset| Some(base + offset));
            assert_eq!(numbers, expected, "{name}");
        }
    }

    #[test]
    fn keys_have_names() {
        let keys = Keys::new("encoders");
        assert_eq!(keys.permit(3).name(), Some("pglock-semaphore/encoders/3"));
        assert_eq!(keys.turnstile().name(), Some("pglock-semaphore/encoders/turnstile"));
    }
}
