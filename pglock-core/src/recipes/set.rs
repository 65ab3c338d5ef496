//! Several locks as one: all of them, or none.

mod acquire;
mod guard;
mod locks;

use std::sync::Arc;
use std::time::Duration;

use tracing::{Instrument, debug, debug_span, trace};

pub use self::guard::SetGuard;

use crate::error::{Error, Result};
use crate::guard::AnyGuard;
use crate::key::{LockKey, NamedKey};
use crate::lease::Lease;
use crate::mode::Mode;
use crate::provider::LockProvider;

/// Several locks that are taken as one: all of them, or none. Made by
/// [`Locks::set`](crate::Locks::set), or by [`LockSet::new`] for another [`LockProvider`].
///
/// Each key has a mode: [`read`](Self::read) or [`write`](Self::write). A key that is added twice
/// counts once, and the write lock wins.
///
/// # How it takes the locks
///
/// A set takes its locks in the order of their keys, whatever the order in which the keys were
/// added. So sets cannot deadlock with each other. If all keys are free, this takes one round trip
/// to the server. If one is busy, the set keeps the locks on the keys before it, takes none behind
/// it, and waits in its queue.
///
/// A waiting set blocks every caller that wants one of the locks it already holds. Keep sets small,
/// and do not mix keys that are busy for long with keys that every caller needs. If
/// [`try_acquire`](Self::try_acquire) finds a key busy, it releases the locks before it at once;
/// for a round trip, other callers find those busy.
///
/// The locks of a set are not [fenced](crate::RwLock::fenced), and the guard of a set has no fence.
///
/// The order holds within one set only. Two tasks that each hold a guard or a set and take another
/// one can deadlock, which a warning [reports](crate::Deadlock). Take all that you need as one set,
/// or use the `try_` methods.
///
/// # Two names for one thing
///
/// While a fleet moves from one key scheme to another, take the old and the new key as a set.
/// Deploy that everywhere; in the next release, drop the old key.
///
/// ```
/// use pglock_core::key::interop;
/// use pglock_core::{Locks, Result, SetGuard};
///
/// async fn lock_invoice(locks: &Locks, id: u64) -> Result<SetGuard> {
///     let name = format!("invoice/{id}");
///     locks.set().write(interop::fnv1a(&name)).write(name).acquire().await
/// }
/// ```
///
/// # Examples
///
/// ```
/// use pglock_core::{Locks, Result};
///
/// /// Changes an invoice, and keeps its tenant from being removed meanwhile.
/// async fn change(locks: &Locks) -> Result<()> {
///     let guard = locks.set().read("tenant/42").write("invoice/7").acquire().await?;
///     guard.protect(async { /* … */ }).await?;
///     guard.release().await
/// }
///
/// /// With keys that are known only at run time.
/// async fn merge(locks: &Locks, invoices: &[u64]) -> Result<()> {
///     let set = locks.set().read("tenant/42");
///     let set = invoices.iter().fold(set, |set, id| set.write(format!("invoice/{id}")));
///     let Some(guard) = set.try_acquire().await? else {
///         return Ok(()); // at least one of them is busy
///     };
///     guard.protect(async { /* … */ }).await?;
///     guard.release().await
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a set takes no lock before it is acquired"]
pub struct LockSet {
    locks: Arc<dyn LockProvider>,
    /// In the order of the keys.
    members: Vec<(NamedKey, Mode)>,
    /// Why the set can never be taken.
    invalid: Option<Error>,
    /// Whether its wait fails in a deadlock.
    gives_up: bool,
}

impl LockSet {
    /// Makes a set without keys, for locks of this provider. Does no I/O.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use pglock_core::{LockProvider, LockSet};
    ///
    /// fn accounts(locks: &Arc<dyn LockProvider>, from: u32, to: u32) -> LockSet {
    ///     LockSet::new(locks.clone()).write(from).write(to)
    /// }
    /// ```
    pub fn new(locks: Arc<dyn LockProvider>) -> Self {
        Self { locks, members: Vec::new(), invalid: None, gives_up: false }
    }

    /// Adds the read lock of a key.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(locks: pglock_core::Locks) {
    /// let set = locks.set().read("tenant/42").read("prices");
    /// # }
    /// ```
    pub fn read(self, key: impl Into<NamedKey>) -> Self {
        self.add(key.into(), Mode::Read)
    }

    /// Adds the write lock of a key.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(locks: pglock_core::Locks) {
    /// let set = locks.set().write("invoice/7").write("invoice/8");
    /// # }
    /// ```
    pub fn write(self, key: impl Into<NamedKey>) -> Self {
        self.add(key.into(), Mode::Write)
    }

    /// Lets the wait of this set fail if it is part of a deadlock: see
    /// [`RwLock::fail_on_deadlock`](crate::RwLock::fail_on_deadlock).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(locks: pglock_core::Locks) {
    /// let set = locks.set().write(1).write(2).fail_on_deadlock();
    /// # }
    /// ```
    pub fn fail_on_deadlock(self) -> Self {
        Self { gives_up: true, ..self }
    }

    /// The keys, in ascending order.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(locks: pglock_core::Locks) {
    /// let set = locks.set().write(2).write(1).read(2);
    /// assert!(set.keys().eq([1.into(), 2.into()]));
    /// # }
    /// ```
    pub fn keys(&self) -> impl Iterator<Item = LockKey> {
        self.members.iter().map(|(key, _)| key.key())
    }

    /// Takes all locks, or returns `None` if one of them is busy. Does not wait.
    ///
    /// If several sets of the same keys are tried at the same time, and all keys are free, one of
    /// the sets gets them.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future leaves nothing behind.
    ///
    /// # Errors
    ///
    /// As for [`acquire`](Self::acquire). A busy lock is no error.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(locks: pglock_core::Locks) -> pglock_core::Result<()> {
    /// let accounts = locks.set().write("account/1").write("account/2");
    /// if let Some(guard) = accounts.try_acquire().await? {
    ///     // … move money …
    ///     guard.release().await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn try_acquire(&self) -> Result<Option<SetGuard>> {
        self.instrumented(self.take(None)).await
    }

    /// Waits for all locks.
    ///
    /// If it loses a lock that it already holds, it begins anew.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the place in the queue, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// The set holds no lock after an error:
    ///
    /// * [`InvalidOptions`](crate::ErrorKind::InvalidOptions) if the set has no keys: its guard
    ///   would protect nothing.
    /// * [`KeyCollision`](crate::ErrorKind::KeyCollision) if two names in it have the same key.
    /// * [`LockTableFull`](crate::ErrorKind::LockTableFull) if the set is larger than what is left
    ///   of [`max_locks`](crate::LocksBuilder::max_locks).
    /// * The errors of single locks; see [`ErrorKind`](crate::ErrorKind).
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(locks: pglock_core::Locks) -> pglock_core::Result<()> {
    /// let guard = locks.set().read("tenant/42").write("invoice/7").acquire().await?;
    /// // … change the invoice …
    /// drop(guard); // releases both, without waiting
    /// # Ok(())
    /// # }
    /// ```
    pub async fn acquire(&self) -> Result<SetGuard> {
        self.try_acquire_for(Duration::MAX).await
    }

    /// Waits for all locks, up to `timeout` in total. Zero does not wait: it tries once.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the place in the queue, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// [`Timeout`](crate::ErrorKind::Timeout) if the locks were not all free in time: the error
    /// names the key that the set waited for. Otherwise as for [`acquire`](Self::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(locks: pglock_core::Locks) -> pglock_core::Result<()> {
    /// use std::time::Duration;
    ///
    /// let accounts = locks.set().write("account/1").write("account/2");
    /// let guard = accounts.try_acquire_for(Duration::from_secs(2)).await?;
    /// // … move money …
    /// drop(guard);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn try_acquire_for(&self, timeout: Duration) -> Result<SetGuard> {
        let taken = self.instrumented(self.take(Some(timeout))).await?;
        // A wait returns all locks or an error.
        taken.ok_or_else(Error::mismatched_reply)
    }

    fn add(mut self, key: NamedKey, mode: Mode) -> Self {
        match self.members.binary_search_by(|(known, _)| known.cmp(&key)) {
            Err(place) => self.members.insert(place, (key, mode)),
            Ok(place) => {
                let (known, known_mode) = &mut self.members[place];
                if known.collides_with(&key) {
                    let [name, other] = [&*known, &key].map(|key| key.name().unwrap_or_default());
                    let error = Error::key_collision(name, other).for_key(key.key());
                    self.invalid.get_or_insert(error);
                } else if known.name().is_none() {
                    *known = key;
                }
                if mode == Mode::Write {
                    *known_mode = mode;
                }
            }
        }
        self
    }

    async fn instrumented(
        &self,
        acquire: impl Future<Output = Result<Option<SetGuard>>>,
    ) -> Result<Option<SetGuard>> {
        let acquire = async {
            let acquired = acquire.await;
            match &acquired {
                Ok(Some(_)) => trace!("locks acquired"),
                Ok(None) => trace!("locks busy"),
                Err(error) => debug!(%error, "locks not acquired"),
            }
            acquired
        };
        acquire.instrument(debug_span!("pglock_acquire_set", keys = self.members.len())).await
    }
}

fn lease_of_all(first: LockKey, guards: &[AnyGuard]) -> Lease {
    Lease::all(first, guards.iter().map(|guard| guard.lease().clone()).collect())
}
