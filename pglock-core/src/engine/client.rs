//! The functions of the engine that lock handles and guards call.

mod any_driver;
mod call;
mod check;
mod commands;
mod dedicated;
mod held;
#[cfg(all(test, pglock_loom))]
mod interleavings;
mod proofs;
mod run;
mod watching;

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::coop::consume_budget;

pub(crate) use self::any_driver::AnyDriver;
pub(crate) use self::run::{Tried, Wanted};
use self::watching::Watched;

use self::call::Call;
use self::commands::{Acquire, Granted, Inspect};
pub(crate) use self::held::Held;
use super::dedicated::{Dedicated, Limits, Registry};
use super::machine::config::Config;
use super::machine::event::{Event, Patience};
use super::machine::stats::Stats;
use super::meters::Meters;
use super::runtime::Shared;
use super::runtime::deadlines::Sleep;
use super::runtime::tasks::{CLOSE_TIMEOUT, Settings};
use super::runtime::thread;
use crate::error::{Error, Result};
use crate::key::{KeyName, LockKey};
use crate::looking::{Deadlock, LockEntry};
use crate::mode::Mode;
use crate::names::{Name, Names};

/// The engine, as its users hold it. When the last of them is dropped, it closes.
pub(crate) struct Client {
    shared: Arc<Shared>,
    names: Arc<Names>,
    driver: Arc<dyn AnyDriver>,
    settings: Arc<Settings>,
    sessions: Arc<Registry>,
    meters: Meters,
}

impl Client {
    pub(crate) fn new(
        driver: Arc<dyn AnyDriver>,
        config: Config,
        settings: Settings,
        seed: u64,
    ) -> Self {
        let limits = Limits {
            max_locks: config.max_locks,
            max_waiters: config.max_waiters,
            wait_renewal: config.wait_renewal,
        };
        let shared = Arc::new(Shared::new(config, seed, settings.runtime.as_ref()));
        let sessions = Arc::new(Registry::new(limits));
        let meters = Meters::new(settings.application_name.clone());
        let (names, settings) = (Arc::default(), Arc::new(settings));
        Self { shared, names, driver, settings, sessions, meters }
    }

    /// The name in use for the key. An error if the key has another name.
    pub(crate) fn enter(&self, key: LockKey, name: &KeyName) -> Result<Arc<Name>> {
        let collision = |other: Arc<Name>| Error::key_collision(name.text(), other.text());
        self.names.enter(key, name).map_err(|other| collision(other).for_key(key))
    }

    /// `None` if the lock is busy and the caller would not wait.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        key: LockKey,
        name: Option<&Arc<Name>>,
        mode: Mode,
        patience: Patience,
    ) -> Result<Option<Held>> {
        loop {
            self.ensure_manager()?;
            // A lock that is granted at once must not keep the other tasks of this thread from
            // running.
            consume_budget().await;
            let acquire = Acquire { key, mode, patience };
            let acquire = Watched::new(self, key, patience, Call::new(self, acquire));
            let Some(granted) = acquire.await? else {
                return Ok(None);
            };
            let held = self.hold(granted, key, name, mode);
            // The session may have ended before the caller could look. No guard existed for that
            // grant, so the caller asks again.
            if held.is_held() {
                return Ok(Some(held));
            }
        }
    }

    /// Tries a lock that is not recorded as held by a caller.
    async fn try_unrecorded(self: &Arc<Self>, key: LockKey, mode: Mode) -> Result<Option<Held>> {
        self.ensure_manager()?;
        let granted = Call::new(self, Acquire { key, mode, patience: Patience::Try }).await?;
        Ok(granted.map(|granted| self.unrecorded(granted, key, None, mode)))
    }

    fn hold(
        self: &Arc<Self>,
        granted: Granted,
        key: LockKey,
        name: Option<&Arc<Name>>,
        mode: Mode,
    ) -> Held {
        self.unrecorded(granted, key, name, mode).recorded()
    }

    fn unrecorded(
        self: &Arc<Self>,
        Granted { grant, liveness }: Granted,
        key: LockKey,
        name: Option<&Arc<Name>>,
        mode: Mode,
    ) -> Held {
        Held::new(self.clone(), liveness, key, name.cloned(), mode, grant)
    }

    /// Lists who holds and awaits this key, or any key.
    pub(crate) async fn look(self: &Arc<Self>, key: Option<LockKey>) -> Result<Vec<LockEntry>> {
        self.ensure_manager()?;
        let mut locks = Call::new(self, Inspect(key)).await?;
        let sessions = self.sessions.pids();
        let deadlocks = self.shared.waits().deadlocks();
        for lock in &mut locks {
            let holds =
                |deadlock: &&Arc<Deadlock>| deadlock.waits.iter().any(|wait| wait.held == lock.key);
            lock.deadlock = deadlocks.iter().find(holds).cloned();
            lock.name = self.names.get(lock.key);
            lock.is_ours |= sessions.contains(&lock.pid);
        }
        Ok(locks)
    }

    pub(crate) async fn close(&self) {
        self.shared.step(Event::Close { why: Error::closed() });
        let sessions = self.sessions.close();
        sessions.iter().for_each(|session| session.end(Error::closed()));
        let finished = async {
            poll_fn(|cx| self.shared.poll_finished(cx)).await;
            for session in &sessions {
                session.until_finished().await;
            }
        };
        if self.within(CLOSE_TIMEOUT, finished).await.is_none() {
            self.shared.abort_all();
            sessions.iter().for_each(|session| session.abort());
        }
    }

    /// Returns the result of the future, unless this time, by the engine's clock, is over first.
    pub(crate) async fn within<F: Future>(&self, time: Duration, future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = Sleep::new(&self.shared, time) => None,
        }
    }

    /// Completes after this time, by the engine's clock, if the engine can run.
    pub(crate) async fn sleep(&self, time: Duration) {
        if self.ensure_manager().is_ok() {
            Sleep::new(&self.shared, time).await;
        }
    }

    pub(crate) fn meters(&self) -> &Meters {
        &self.meters
    }

    /// By the engine's clock.
    pub(crate) fn now(&self) -> Duration {
        self.shared.clock().now().since_start()
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
            self.meters.register();
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
