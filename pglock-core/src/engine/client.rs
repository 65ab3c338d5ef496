//! What lock handles and guards do with the engine.

mod call;
mod check;
mod commands;
#[cfg(all(test, pglock_loom))]
mod interleavings;

use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::coop::consume_budget;

use self::call::Call;
use self::commands::{Acquire, Granted, Inspect, Release};
use super::machine::config::Config;
use super::machine::event::{Event, GrantId, Patience};
use super::machine::stats::Stats;
use super::runtime::Shared;
use super::runtime::deadlines::Sleep;
use super::runtime::liveness::{Liveness, OnLoss, WatcherId};
use super::runtime::tasks::{CLOSE_TIMEOUT, Settings, start_manager};
use super::runtime::thread;
use crate::driver::Driver;
use crate::error::{Error, ErrorKind, Result};
use crate::key::LockKey;
use crate::looking::LockEntry;
use crate::mode::Mode;
use crate::names::{Name, Names};

/// The engine as its users hold it; when the last of them is gone, it closes.
pub(crate) struct Client {
    shared: Arc<Shared>,
    names: Arc<Names>,
    driver: Arc<dyn AnyDriver>,
    settings: Arc<Settings>,
}

/// A driver whose type nobody outside the engine's tasks needs to know.
pub(crate) trait AnyDriver: fmt::Debug + Send + Sync {
    /// Starts the task that opens sessions of this driver.
    fn start_manager(
        self: Arc<Self>,
        shared: &Arc<Shared>,
        thread: &Handle,
        settings: &Arc<Settings>,
    );
}

impl<D: Driver> AnyDriver for D {
    fn start_manager(
        self: Arc<Self>,
        shared: &Arc<Shared>,
        thread: &Handle,
        settings: &Arc<Settings>,
    ) {
        start_manager(shared, thread, &self, settings);
    }
}

impl Client {
    pub(crate) fn new(
        driver: Arc<dyn AnyDriver>,
        config: Config,
        settings: Settings,
        seed: u64,
    ) -> Self {
        let shared = Arc::new(Shared::new(config, seed, settings.runtime.as_ref()));
        Self { shared, names: Arc::default(), driver, settings: Arc::new(settings) }
    }

    pub(crate) fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// `None`: the lock is busy, and the caller would not wait.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        key: LockKey,
        name: Option<&Arc<Name>>,
        mode: Mode,
        patience: Patience,
    ) -> Result<Option<Held>> {
        loop {
            self.ensure_manager()?;
            // A lock that is answered at once must not keep the other tasks of this thread from
            // their turn.
            consume_budget().await;
            let acquire = Acquire { key, mode, patience };
            let Some(Granted { grant, liveness }) = Call::new(self, acquire).await? else {
                return Ok(None);
            };
            let client = self.clone();
            let name = name.cloned();
            let watcher = OnceLock::new();
            let held = Held { client, liveness, key, name, mode, grant: Some(grant), watcher };
            // The session may have ended before the caller could look. Nobody has believed in that
            // grant, so the caller asks again.
            if held.is_held() {
                return Ok(Some(held));
            }
        }
    }

    /// Who holds and awaits this key, or any.
    pub(crate) async fn look(self: &Arc<Self>, key: Option<LockKey>) -> Result<Vec<LockEntry>> {
        self.ensure_manager()?;
        let mut locks = Call::new(self, Inspect(key)).await?;
        for lock in &mut locks {
            lock.name = self.names.get(lock.key);
        }
        Ok(locks)
    }

    pub(crate) async fn close(&self) {
        self.shared.step(Event::Close { why: Error::closed() });
        let finished = poll_fn(|cx| self.shared.poll_finished(cx));
        if self.within(CLOSE_TIMEOUT, finished).await.is_none() {
            self.shared.abort_all();
        }
    }

    /// What comes of the future, unless this time is over first, by the engine's clock.
    pub(crate) async fn within<F: Future>(&self, time: Duration, future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = Sleep::new(&self.shared, time) => None,
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        self.shared.stats()
    }

    pub(crate) fn ensure_manager(&self) -> Result<()> {
        if self.shared.has_manager() {
            return Ok(());
        }
        let thread = thread::runtime()?;
        if self.shared.claim_manager() {
            self.driver.clone().start_manager(&self.shared, thread, &self.settings);
        }
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.step(Event::Close { why: Error::closed() });
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

/// A lock that the engine granted; gives it back when dropped.
pub(crate) struct Held {
    client: Arc<Client>,
    liveness: Arc<Liveness>,
    key: LockKey,
    /// Kept, so that the name is known as long as the lock is held.
    name: Option<Arc<Name>>,
    mode: Mode,
    grant: Option<GrantId>,
    /// Made when something is to be done on a loss.
    watcher: OnceLock<WatcherId>,
}

/// Somebody who waits for the end of a session.
struct Watch<'a> {
    liveness: &'a Liveness,
    id: WatcherId,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.liveness.stop_watching(self.id);
    }
}

impl Held {
    pub(crate) fn key(&self) -> LockKey {
        self.key
    }

    pub(crate) fn is_held(&self) -> bool {
        let shared = &self.client.shared;
        if !self.liveness.has_ended() && !self.liveness.is_leased(shared.clock().now()) {
            // If the lease is over, the session ends here and now, and for all of its guards.
            shared.step(Event::Tick);
        }
        !self.liveness.has_ended()
    }

    /// Completes when the lock is lost: by the clock, whoever polls it.
    pub(crate) async fn lost(&self) {
        let watch = Watch { liveness: &self.liveness, id: self.liveness.new_watcher() };
        poll_fn(|cx| {
            if !self.is_held() || watch.liveness.wake_at_end(watch.id, cx.waker().clone()) {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }

    /// What a holder is told that has lost its lock.
    pub(crate) fn loss(&self) -> Error {
        let error = match self.liveness.reason() {
            Some(reason) => Error::lost_by(reason.clone()),
            None => Error::lost(),
        };
        self.about(error)
    }

    pub(crate) fn on_loss(&self, on_loss: OnLoss) {
        // An end that nobody has noticed yet is noticed now.
        self.is_held();
        let watcher = *self.watcher.get_or_init(|| self.liveness.new_watcher());
        if let Some(on_loss) = self.liveness.call_at_end(watcher, on_loss) {
            on_loss();
        }
    }

    fn about(&self, error: Error) -> Error {
        error.about(self.key, self.name.as_ref())
    }

    /// Once; a second time does nothing.
    pub(crate) async fn release(&mut self) -> Result<()> {
        let (client, key, held) = (&self.client, self.key, &mut self.grant);
        let Some(grant) = *held else {
            return Ok(());
        };
        let released = Call::new(client, Release { key, grant, held }).await;
        released.map_err(|error| match error.kind() {
            ErrorKind::Lost => self.loss(),
            _ => self.about(error),
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // What comes after a release is no loss.
        if let Some(watcher) = self.watcher.get() {
            self.liveness.stop_watching(*watcher);
        }
        if let Some(grant) = self.grant.take()
            && !cfg!(pglock_seed_bug = "keep_dropped")
        {
            self.client.shared.step(Event::Release { key: self.key, grant, releaser: None });
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("key", &self.key)
            .field("name", &self.name)
            .field("mode", &self.mode)
            .field("backend_pid", &self.liveness.pid())
            .field("is_held", &self.is_held())
            .finish()
    }
}
