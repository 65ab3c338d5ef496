//! The lock on one key, and how it asks the engine.

mod distributed;

use std::convert::identity;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tracing::field::display;
use tracing::{Instrument, debug, debug_span, trace};

pub use self::distributed::DistributedRwLock;

use crate::engine::{Client, Held, Obstacle, Patience};
use crate::error::{Error, Result};
use crate::guard::{ReadGuard, WriteGuard};
use crate::key::{KeyName, LockKey, NamedKey};
use crate::looking::LockEntry;
use crate::mode::Mode;
use crate::names::{Name, Shown};

/// A lock on one key, from [`Locks::rwlock`](crate::Locks::rwlock). Cheap to make and to clone.
///
/// It has the methods of [`DistributedRwLock`] as its own, so you need not import the trait.
///
/// # Examples
///
/// ```
/// use pglock_core::{Locks, Result};
///
/// /// True if this call has built the report, false if another process is building it.
/// async fn build_report(locks: &Locks) -> Result<bool> {
///     let Some(guard) = locks.rwlock("reports/daily").try_write().await? else {
///         return Ok(false);
///     };
///     guard.protect(async { /* the work */ }).await?;
///     guard.release().await?;
///     Ok(true)
/// }
/// ```
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
