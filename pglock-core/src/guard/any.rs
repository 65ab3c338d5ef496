//! A guard in either mode.

use super::{ReadGuard, WriteGuard};
use crate::error::Result;
use crate::key::LockKey;
use crate::lease::Lease;
use crate::mode::Mode;

/// A guard of either mode, from code that takes locks in both. Releases the lock when dropped.
///
/// # Examples
///
/// ```
/// use pglock_core::{AnyGuard, Mode};
///
/// fn describe(guard: &AnyGuard) -> String {
///     match guard.mode() {
///         Mode::Read => format!("reads {}", guard.key()),
///         Mode::Write => format!("writes {}", guard.key()),
///     }
/// }
/// ```
#[derive(Debug)]
#[must_use = "dropping the guard releases the lock at once"]
#[clippy::has_significant_drop]
#[expect(clippy::exhaustive_enums, reason = "there are no other modes")]
pub enum AnyGuard {
    /// A read lock.
    Read(ReadGuard),
    /// A write lock.
    Write(WriteGuard),
}

impl AnyGuard {
    /// The key that is locked.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(guards: Vec<pglock_core::AnyGuard>) {
    /// let keys: Vec<_> = guards.iter().map(|guard| guard.key()).collect();
    /// # }
    /// ```
    pub fn key(&self) -> LockKey {
        match self {
            Self::Read(guard) => guard.key(),
            Self::Write(guard) => guard.key(),
        }
    }

    /// The mode of the lock.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(guards: Vec<pglock_core::AnyGuard>) {
    /// use pglock_core::Mode;
    ///
    /// let writes = guards.iter().filter(|guard| guard.mode() == Mode::Write).count();
    /// # }
    /// ```
    pub fn mode(&self) -> Mode {
        match self {
            Self::Read(_) => Mode::Read,
            Self::Write(_) => Mode::Write,
        }
    }

    /// Reports whether the lock is still held, to code that does not own the guard.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(guards: Vec<pglock_core::AnyGuard>) {
    /// let leases: Vec<_> = guards.iter().map(|guard| guard.lease().clone()).collect();
    /// # }
    /// ```
    pub fn lease(&self) -> &Lease {
        match self {
            Self::Read(guard) => guard.lease(),
            Self::Write(guard) => guard.lease(),
        }
    }

    /// Whether the lock is still held, as far as this process knows: see [`Lease::is_held`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(guards: Vec<pglock_core::AnyGuard>) {
    /// let all_held = guards.iter().all(|guard| guard.is_held());
    /// # }
    /// ```
    pub fn is_held(&self) -> bool {
        match self {
            Self::Read(guard) => guard.is_held(),
            Self::Write(guard) => guard.is_held(),
        }
    }

    /// Releases the lock and waits for the confirmation: see [`WriteGuard::release`].
    ///
    /// # Cancel safety
    ///
    /// If this future is dropped, the lock is released anyway, but without confirmation.
    ///
    /// # Errors
    ///
    /// As [`WriteGuard::release`].
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(guards: Vec<pglock_core::AnyGuard>) -> pglock_core::Result<()> {
    /// for guard in guards {
    ///     guard.release().await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn release(self) -> Result<()> {
        match self {
            Self::Read(guard) => guard.release().await,
            Self::Write(guard) => guard.release().await,
        }
    }
}

impl From<ReadGuard> for AnyGuard {
    fn from(guard: ReadGuard) -> Self {
        Self::Read(guard)
    }
}

impl From<WriteGuard> for AnyGuard {
    fn from(guard: WriteGuard) -> Self {
        Self::Write(guard)
    }
}
