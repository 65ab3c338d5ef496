use std::convert::identity;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tracing::field::display;
use tracing::{Instrument, debug, debug_span, trace};

use crate::engine::{Client, Held, Obstacle, Patience};
use crate::error::{Error, Result};
use crate::guard::{ReadGuard, WriteGuard};
use crate::key::{KeyName, LockKey, NamedKey};
use crate::looking::LockEntry;
use crate::mode::Mode;
use crate::names::{Name, Shown};

/// A read-write lock on one key, across tasks, processes and machines.
///
/// The trait is object-safe: code that takes a `&dyn DistributedRwLock` works with every backend.
///
/// # Contract
///
/// Callers may rely on these rules, and implementations must keep them; `pglock-testkit` checks
/// them.
///
/// - At any time, a key has any number of [`ReadGuard`]s or one [`WriteGuard`], among all processes
///   that use the same backend.
/// - `read` and `write` wait in a queue: a later call for a conflicting lock through the same lock
///   manager does not get the lock first.
/// - A call that fails, times out or is dropped leaves nothing behind: no lock, and no place in the
///   queue.
/// - A busy lock is not an error: `try_read` and `try_write` return `Ok(None)`.
/// - Locks are not re-entrant: see below.
/// - Any number of calls may run at the same time on the same value.
///
/// # A task can wait for itself
///
/// A lock does not know which task calls it. A task that holds a guard and asks for the same key
/// again waits for ever
///
/// - in `write`, whichever guard it holds: asking for the write lock does not upgrade a read lock;
/// - in `read`, if it holds the write lock, or if it holds a read lock and a writer, in this or
///   another process, has queued in between: the second read waits behind the writer, which waits
///   for the first.
///
/// Share one guard, in an `Arc`, or release it first. The `try_` methods never wait for ever.
///
/// # Poll an acquire, or drop it
///
/// When its turn comes, a waiting future has the lock, even if nothing polls it. All other callers
/// wait until it is polled and its guard is released, or until it is dropped. So do not set such a
/// future aside, for example pinned beside a `select!` loop whose other branches take long.
#[async_trait]
pub trait DistributedRwLock: fmt::Debug + Send + Sync {
    /// The key of this lock.
    fn key(&self) -> LockKey;

    /// Takes the read lock, or returns `None` if a writer holds it or waits for it.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future leaves nothing behind.
    ///
    /// # Errors
    ///
    /// Anything but a busy lock; see [`ErrorKind`](crate::ErrorKind).
    async fn try_read(&self) -> Result<Option<ReadGuard>>;

    /// Waits for the read lock.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the place in the queue, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`](crate::ErrorKind).
    async fn read(&self) -> Result<ReadGuard>;

    /// Waits for the read lock, up to `timeout`. Zero does not wait: it tries once.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the place in the queue, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// [`Timeout`](crate::ErrorKind::Timeout) if the lock was not free in time. If the manager had
    /// no connection, or the server did not answer, the error reports that instead. Otherwise as
    /// for [`read`](Self::read).
    async fn try_read_for(&self, timeout: Duration) -> Result<ReadGuard>;

    /// Takes the write lock, or returns `None` if the lock is held or awaited.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future leaves nothing behind.
    ///
    /// # Errors
    ///
    /// Anything but a busy lock; see [`ErrorKind`](crate::ErrorKind).
    async fn try_write(&self) -> Result<Option<WriteGuard>>;

    /// Waits for the write lock.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the place in the queue, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`](crate::ErrorKind).
    async fn write(&self) -> Result<WriteGuard>;

    /// Waits for the write lock, up to `timeout`. Zero does not wait: it tries once.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the place in the queue, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// [`Timeout`](crate::ErrorKind::Timeout) if the lock was not free in time. If the manager had
    /// no connection, or the server did not answer, the error reports that instead. Otherwise as
    /// for [`write`](Self::write).
    async fn try_write_for(&self, timeout: Duration) -> Result<WriteGuard>;
}

/// A lock on one key, from [`Locks::rwlock`](crate::Locks::rwlock). Cheap to make and to clone.
///
/// It has the methods of [`DistributedRwLock`] as its own, so you need not import the trait.
#[derive(Clone)]
pub struct RwLock {
    client: Arc<Client>,
    key: LockKey,
    /// `Err`: the key had another name when this was made.
    name: Option<Result<Arc<Name>, KeyName>>,
}

/// How long the server may take to tell who holds a lock for which the time has run out.
const LOOK_TIMEOUT: Duration = Duration::from_millis(25);

impl RwLock {
    pub(crate) fn new(client: Arc<Client>, key: NamedKey) -> Self {
        let (key, name) = key.into_parts();
        let name = name.map(|name| client.names().enter(key, &name).map_err(|_| name));
        Self { client, key, name }
    }

    /// The key of this lock.
    pub fn key(&self) -> LockKey {
        self.key
    }

    /// See [`DistributedRwLock::try_read`].
    ///
    /// # Cancel safety
    ///
    /// Dropping this future leaves nothing behind.
    ///
    /// # Errors
    ///
    /// Anything but a busy lock; see [`ErrorKind`](crate::ErrorKind).
    pub async fn try_read(&self) -> Result<Option<ReadGuard>> {
        let held = self.acquire(Mode::Read, Patience::Try).await?;
        Ok(held.map(ReadGuard::from_engine))
    }

    /// See [`DistributedRwLock::read`].
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the place in the queue, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`](crate::ErrorKind).
    pub async fn read(&self) -> Result<ReadGuard> {
        self.wait(Mode::Read).await.map(ReadGuard::from_engine)
    }

    /// See [`DistributedRwLock::try_read_for`].
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the place in the queue, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// [`Timeout`](crate::ErrorKind::Timeout) if the lock was not free in time; the rest as
    /// for [`DistributedRwLock::try_read_for`].
    pub async fn try_read_for(&self, timeout: Duration) -> Result<ReadGuard> {
        self.wait_for(Mode::Read, timeout).await.map(ReadGuard::from_engine)
    }

    /// See [`DistributedRwLock::try_write`].
    ///
    /// # Cancel safety
    ///
    /// Dropping this future leaves nothing behind.
    ///
    /// # Errors
    ///
    /// Anything but a busy lock; see [`ErrorKind`](crate::ErrorKind).
    pub async fn try_write(&self) -> Result<Option<WriteGuard>> {
        let held = self.acquire(Mode::Write, Patience::Try).await?;
        Ok(held.map(WriteGuard::from_engine))
    }

    /// See [`DistributedRwLock::write`].
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the place in the queue, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`](crate::ErrorKind).
    pub async fn write(&self) -> Result<WriteGuard> {
        self.wait(Mode::Write).await.map(WriteGuard::from_engine)
    }

    /// See [`DistributedRwLock::try_write_for`].
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the place in the queue, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// [`Timeout`](crate::ErrorKind::Timeout) if the lock was not free in time; the rest as
    /// for [`DistributedRwLock::try_write_for`].
    pub async fn try_write_for(&self, timeout: Duration) -> Result<WriteGuard> {
        self.wait_for(Mode::Write, timeout).await.map(WriteGuard::from_engine)
    }

    async fn wait_for(&self, mode: Mode, timeout: Duration) -> Result<Held> {
        let obstacle = if timeout.is_zero() {
            match self.acquire(mode, Patience::Try).await? {
                Some(held) => return Ok(held),
                None => Obstacle::Busy,
            }
        } else {
            // Which keeps the time.
            self.client.ensure_manager()?;
            let mut wait = pin!(self.wait(mode));
            match self.client.within(timeout, &mut wait).await {
                Some(held) => return held,
                // While the caller is in line, to see what it waits for.
                None => self.client.obstacle(self.key, timeout),
            }
        };
        let error = match obstacle {
            Obstacle::NotConnected(error) => error,
            Obstacle::Busy => Error::timeout(self.holders().await.unwrap_or_default()),
            Obstacle::Silence => self.holders().await.map_or_else(identity, Error::timeout),
        };
        Err(self.about(error))
    }

    /// Who holds the lock, if the server can tell at once.
    async fn holders(&self) -> Result<Vec<LockEntry>> {
        let look = self.client.look(Some(self.key));
        let look = self.client.within(LOOK_TIMEOUT, look).await;
        let mut locks = look.unwrap_or_else(|| Err(Error::unanswered()))?;
        locks.retain(|lock| lock.granted);
        Ok(locks)
    }

    fn about(&self, error: Error) -> Error {
        let name = self.name.as_ref().and_then(|name| name.as_ref().ok());
        error.about(self.key, name)
    }

    /// The name that the key can have now, unless the other one is still in use.
    fn enter(&self, name: &KeyName) -> Result<Arc<Name>> {
        let entered = self.client.names().enter(self.key, name);
        entered.map_err(|other| Error::key_collision(name.text(), other.text()).for_key(self.key))
    }

    async fn wait(&self, mode: Mode) -> Result<Held> {
        // The engine replies "busy" only to callers that do not wait.
        self.acquire(mode, Patience::Wait)
            .await?
            .ok_or_else(|| self.about(Error::mismatched_reply()))
    }

    async fn acquire(&self, mode: Mode, patience: Patience) -> Result<Option<Held>> {
        let entered;
        let name = match &self.name {
            None => None,
            Some(Ok(name)) => Some(name),
            Some(Err(name)) => {
                entered = self.enter(name)?;
                Some(&entered)
            }
        };
        let acquire = async {
            let acquired = self.client.acquire(self.key, name, mode, patience).await;
            match &acquired {
                Ok(Some(_)) => trace!("lock acquired"),
                Ok(None) => trace!("lock busy"),
                Err(error) => debug!(%error, "lock not acquired"),
            }
            acquired.map_err(|error| error.about(self.key, name))
        };
        let shown = name.map(|name| display(Shown(name.text())));
        let span = debug_span!("pglock_acquire", key = %self.key, name = shown, %mode);
        acquire.instrument(span).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl DistributedRwLock for RwLock {
    fn key(&self) -> LockKey {
        self.key()
    }

    async fn try_read(&self) -> Result<Option<ReadGuard>> {
        self.try_read().await
    }

    async fn read(&self) -> Result<ReadGuard> {
        self.read().await
    }

    async fn try_read_for(&self, timeout: Duration) -> Result<ReadGuard> {
        self.try_read_for(timeout).await
    }

    async fn try_write(&self) -> Result<Option<WriteGuard>> {
        self.try_write().await
    }

    async fn write(&self) -> Result<WriteGuard> {
        self.write().await
    }

    async fn try_write_for(&self, timeout: Duration) -> Result<WriteGuard> {
        self.try_write_for(timeout).await
    }
}

impl fmt::Debug for RwLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLock").field("key", &self.key).finish_non_exhaustive()
    }
}
