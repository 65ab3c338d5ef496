//! The two ways to hold a lock.

use std::fmt;

/// The mode of a lock.
///
/// Any number of readers may hold a key together; a writer holds it alone. PostgreSQL calls the two
/// `ShareLock` and `ExclusiveLock`.
///
/// # Examples
///
/// ```
/// use pglock_core::Mode;
///
/// assert!(Mode::Read.is_compatible_with(Mode::Read));
/// assert!(!Mode::Read.is_compatible_with(Mode::Write));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a read-write lock has these two modes")]
pub enum Mode {
    /// Shared with other readers.
    Read,
    /// Exclusive.
    Write,
}

impl Mode {
    /// Whether one holder in this mode and one in `other` may hold the same key at the same time.
    pub const fn is_compatible_with(self, other: Self) -> bool {
        matches!((self, other), (Self::Read, Self::Read))
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
        })
    }
}
