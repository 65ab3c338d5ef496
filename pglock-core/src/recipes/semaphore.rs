//! A semaphore: a number of permits, shared by any number of processes.
//!
//! ```
//! use pglock_core::recipes::semaphore::Semaphore;
//! use pglock_core::{Locks, Result};
//!
//! /// At most eight videos are encoded at a time, by all processes together.
//! async fn encode(encoders: &Semaphore) -> Result<()> {
//!     let permit = encoders.acquire().await?;
//!     permit.protect(async { /* … */ }).await?;
//!     permit.release().await
//! }
//!
//! /// Once per process.
//! async fn serve(locks: &Locks) -> Result<()> {
//!     let encoders = locks.semaphore("encoders", 8)?;
//!     loop {
//!         // … wait for the next video …
//! #       tokio::task::yield_now().await;
//!         let encoders = encoders.clone();
//!         tokio::spawn(async move { encode(&encoders).await });
//!     }
//! }
//! ```
//!
//! # Who gets a permit
//!
//! Permits are locks, so the permits of a process are free as soon as it dies.
//!
//! Waiting callers are served in order. Within a process, they queue at the [`Semaphore`] and its
//! clones. The first of them represents the process in the server's queue for a lock, the
//! *turnstile*. The process that holds the turnstile gets the permits that become free. After that,
//! its next caller goes to the end of the queue of processes. While a process waits, tries of all
//! processes fail, so they cannot overtake it, and a caller that wants many permits is not starved
//! by callers that want few.
//!
//! The process whose turn it is checks for free permits again after an eighth of the time that it
//! has waited, and at least every 50 milliseconds. If a clone of its own semaphore releases
//! permits, it checks at once. It occupies one session of its manager, and so does a process that
//! waits for the turnstile.
//!
//! # Several sizes
//!
//! Permits are numbered, and all processes count from zero. So if processes give different numbers
//! of permits, as during a deployment that changes the number, the largest is the bound: a new
//! process has the additional permits at once, and an old one uses only those it knows. When the
//! last process with the larger number has ended, the smaller one is the bound. Until then, a
//! process that waits for one of the permits it knows may hold up others that know more.
//!
//! # Metrics
//!
//! With the feature `metrics`, for each semaphore that this process uses, with its name as the label
//! `semaphore`:
//!
//! * the histogram `pglock_semaphore_wait_seconds`: how long callers waited for the permits that
//!   they got, by `acquire` or a try.
//! * the counter `pglock_semaphore_failures_total`: calls that ended with an error. Its label `kind`
//!   is the [`ErrorKind`](crate::ErrorKind), such as `timeout`. A `try_acquire` that returns `None`
//!   is no failure.
//!
//! Install the recorder of your metrics before the first call.
//!
//! # Deadlocks
//!
//! A task that holds permits and waits for more of the same semaphore may wait for ever. Request
//! all of them at once, with [`acquire_many`](Semaphore::acquire_many).
//!
//! # Keys
//!
//! The permits of a semaphore are the write locks on consecutive numbers, so they appear side by
//! side in `pg_locks`:
//!
//! ```text
//! first     = the key of the name in the namespace "pglock-semaphore", its last 16 bits set to 0
//! permit n  = first + n
//! gate      = first + 65534
//! turnstile = first + 65535
//! ```

mod acquire;
mod holders;
mod keys;
mod line;
#[cfg(feature = "metrics")]
mod metrics;
mod permit;
mod taking;
mod timeout;

use std::fmt;
use std::sync::Arc;

use tokio::sync::Notify;

use self::keys::{Keys, check};
use self::line::Line;
pub use self::permit::Permit;
use crate::{DistributedRwLock, LockProvider, Locks, Result};

/// A number of permits that processes share: see the [module](self).
///
/// Make one for each name and clone it: clones are cheap, and their callers are served in order of
/// arrival. Semaphores of the same name that are made separately share the permits, too, but count
/// as separate processes. The lock manager may [hand over
/// locally](crate::LocksBuilder::hand_over_age) between them before other processes have their
/// turn.
#[derive(Clone)]
pub struct Semaphore {
    shared: Arc<Shared>,
}

struct Shared {
    locks: Arc<dyn LockProvider>,
    keys: Keys,
    permits: u32,
    turnstile: Box<dyn DistributedRwLock>,
    gate: Box<dyn DistributedRwLock>,
    line: Line,
    /// Notified when a permit of this process is released.
    freed: Notify,
    #[cfg(feature = "metrics")]
    meters: metrics::Meters,
}

impl Locks {
    /// The semaphore of this name and with this many permits, on the locks of this manager. Does no
    /// I/O.
    ///
    /// # Errors
    ///
    /// The same as for [`Semaphore::new`].
    pub fn semaphore(&self, name: &str, permits: u32) -> Result<Semaphore> {
        Semaphore::new(Arc::new(self.clone()), name, permits)
    }
}

impl Semaphore {
    /// The maximum number of permits of a semaphore.
    ///
    /// Each held permit takes room in the server's lock table, and counts towards the
    /// [limit](crate::LocksBuilder::max_locks) of its manager.
    pub const MAX_PERMITS: u32 = keys::MAX_PERMITS;

    /// The semaphore of this name and with this many permits, on the locks of any backend. Does no
    /// I/O.
    ///
    /// # Errors
    ///
    /// [`InvalidOptions`](crate::ErrorKind::InvalidOptions) if `permits` is zero or more than
    /// [`MAX_PERMITS`](Self::MAX_PERMITS).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use pglock_core::recipes::semaphore::Semaphore;
    /// use pglock_core::{LockProvider, Result};
    ///
    /// /// As many permits as the configuration says.
    /// fn pool(locks: Arc<dyn LockProvider>, size: u32) -> Result<Semaphore> {
    ///     Semaphore::new(locks, "pool", size.clamp(1, Semaphore::MAX_PERMITS))
    /// }
    /// ```
    pub fn new(locks: Arc<dyn LockProvider>, name: &str, permits: u32) -> Result<Self> {
        check(permits, Self::MAX_PERMITS, "a semaphore must have")?;
        let keys = Keys::new(name);
        let (turnstile, gate) = (locks.rwlock(keys.turnstile()), locks.rwlock(keys.gate()));
        let (line, freed) = (Line::default(), Notify::new());
        let shared = Shared {
            locks,
            keys,
            permits,
            turnstile,
            gate,
            line,
            freed,
            #[cfg(feature = "metrics")]
            meters: metrics::Meters::new(name),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The number of permits, held or not, according to this process.
    pub fn permits(&self) -> u32 {
        self.shared.permits
    }

    /// Takes a permit, or returns `None` if all are held or another caller waits for some.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future leaves nothing behind.
    ///
    /// # Errors
    ///
    /// A lack of permits is no error; see [`ErrorKind`](crate::ErrorKind).
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::Result;
    /// use pglock_core::recipes::semaphore::Semaphore;
    ///
    /// /// The status of the reply to a client: too many reports are being built.
    /// async fn report(builders: &Semaphore) -> Result<u16> {
    ///     let Some(permit) = builders.try_acquire().await? else {
    ///         return Ok(429);
    ///     };
    ///     permit.protect(async { /* … */ }).await?;
    ///     Ok(200)
    /// }
    /// ```
    pub async fn try_acquire(&self) -> Result<Option<Permit>> {
        self.try_acquire_many(1).await
    }

    /// Takes this many permits, or returns `None` if fewer are free or another caller waits for
    /// some.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future leaves nothing behind.
    ///
    /// # Errors
    ///
    /// [`InvalidOptions`](crate::ErrorKind::InvalidOptions) if `count` is zero or more than the
    /// number of permits; otherwise as for [`try_acquire`](Self::try_acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(
    /// #     encoders: pglock_core::recipes::semaphore::Semaphore,
    /// # ) -> pglock_core::Result<()> {
    /// if let Some(both) = encoders.try_acquire_many(2).await? {
    ///     both.protect(async { /* … sound and picture at the same time … */ }).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn try_acquire_many(&self, count: u32) -> Result<Option<Permit>> {
        self.measured(self.try_once(count), Option::is_some).await
    }

    /// Waits for a permit.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the place in the queue, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`](crate::ErrorKind).
    pub async fn acquire(&self) -> Result<Permit> {
        self.acquire_many(1).await
    }

    /// Waits for this many permits. It keeps those that become free until it has all of them.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the place in the queue, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// [`InvalidOptions`](crate::ErrorKind::InvalidOptions) if `count` is zero or more than the
    /// number of permits; otherwise see [`ErrorKind`](crate::ErrorKind).
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::Result;
    /// use pglock_core::recipes::semaphore::Semaphore;
    ///
    /// /// A large import takes half of the capacity.
    /// async fn import(capacity: &Semaphore) -> Result<()> {
    ///     let permit = capacity.acquire_many(capacity.permits().div_ceil(2)).await?;
    ///     permit.protect(async { /* … */ }).await?;
    ///     permit.release().await
    /// }
    /// ```
    pub async fn acquire_many(&self, count: u32) -> Result<Permit> {
        self.measured(self.wait(count), |_| true).await
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("name", &self.shared.keys.name())
            .field("permits", &self.permits())
            .finish_non_exhaustive()
    }
}
