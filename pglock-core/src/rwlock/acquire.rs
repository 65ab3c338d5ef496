//! Acquires through the engine, and the details of their errors.

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tracing::field::display;
use tracing::{Instrument, Span, debug, debug_span, trace};

use super::RwLock;
use crate::engine::{Held, Obstacle, Patience};
use crate::error::{Error, Result};
use crate::key::LockKey;
use crate::mode::Mode;
use crate::names::{Name, Shown};
use crate::owner::Scope;

impl RwLock {
    pub(super) async fn wait_for(&self, mode: Mode, timeout: Duration) -> Result<Held> {
        let at_gate = AtomicBool::new(false);
        if !timeout.is_zero() {
            return self.within(timeout, self.wait_by_gate(mode, &at_gate), &at_gate).await;
        }
        match self.acquire_by_gate(mode, Patience::Try, &at_gate).await? {
            Some(held) => Ok(held),
            None => Err(self.timed_out(Obstacle::Busy, &at_gate).await),
        }
    }

    /// What comes of a wait for this lock, or why it was not over in time.
    pub(super) async fn within<T>(
        &self,
        timeout: Duration,
        wait: impl Future<Output = Result<T>>,
        at_gate: &AtomicBool,
    ) -> Result<T> {
        // The engine thread keeps the time.
        self.client.ensure_manager()?;
        let mut wait = pin!(wait);
        let obstacle = match self.client.within(timeout, &mut wait).await {
            Some(result) => return result,
            // While the caller is in line, to see what it waits for.
            None => {
                let gate = self.awaited_gate(at_gate);
                self.client.obstacle(gate.unwrap_or(self.key), timeout)
            }
        };
        Err(self.timed_out(obstacle, at_gate).await)
    }

    fn awaited_gate(&self, at_gate: &AtomicBool) -> Option<LockKey> {
        self.gate.filter(|_| at_gate.load(Relaxed))
    }

    async fn timed_out(&self, obstacle: Obstacle, at_gate: &AtomicBool) -> Error {
        let gate = self.awaited_gate(at_gate);
        self.about(self.client.timed_out(self.key, gate, obstacle).await)
    }

    pub(super) fn about(&self, error: Error) -> Error {
        let name = self.name.as_ref().and_then(|name| name.as_ref().ok());
        error.about(self.key, name)
    }

    /// The name that the key can have now, unless the other one is still in use.
    pub(super) fn entered(&self) -> Result<Option<Cow<'_, Arc<Name>>>> {
        let name = match &self.name {
            None => return Ok(None),
            Some(Ok(name)) => return Ok(Some(Cow::Borrowed(name))),
            Some(Err(name)) => name,
        };
        self.client.enter(self.key, name).map(|name| Some(Cow::Owned(name)))
    }

    pub(super) async fn wait(&self, mode: Mode) -> Result<Held> {
        self.wait_by_gate(mode, &AtomicBool::new(false)).await
    }

    async fn wait_by_gate(&self, mode: Mode, at_gate: &AtomicBool) -> Result<Held> {
        // The engine replies "busy" only to callers that do not wait.
        self.acquire_by_gate(mode, Patience::Wait, at_gate)
            .await?
            .ok_or_else(|| self.about(Error::mismatched_reply()))
    }

    pub(super) async fn acquire(&self, mode: Mode, patience: Patience) -> Result<Option<Held>> {
        self.acquire_by_gate(mode, patience, &AtomicBool::new(false)).await
    }

    /// `at_gate`: set while the lock is granted, and the gate is not passed.
    async fn acquire_by_gate(
        &self,
        mode: Mode,
        patience: Patience,
        at_gate: &AtomicBool,
    ) -> Result<Option<Held>> {
        let name = self.entered()?;
        let name = name.as_deref();
        let acquire = async {
            let wait = self.client.meters().start_wait(mode);
            let acquired = self.hand_out(name, mode, patience, at_gate).await;
            log_acquired(&acquired);
            let timer = self.client.meters().end_wait(wait, &acquired);
            let held = acquired.map_err(|error| error.about(self.key, name))?;
            Ok(held.map(|held| held.timed(timer)))
        };
        let mut acquire = pin!(acquire.instrument(acquire_span(self.key, name, mode)));
        poll_fn(|cx| Scope::poll_for_lock(self.gives_up, acquire.as_mut(), cx)).await
    }

    async fn hand_out(
        &self,
        name: Option<&Arc<Name>>,
        mode: Mode,
        patience: Patience,
        at_gate: &AtomicBool,
    ) -> Result<Option<Held>> {
        loop {
            let granted = self.client.acquire(self.key, name, mode, patience).await?;
            let (held, gate) = match (granted, self.gate) {
                (Some(held), Some(gate)) => (held, gate),
                (granted, _) => return Ok(granted),
            };
            at_gate.store(true, Relaxed);
            // In a box, so that locks without a gate need no room for it.
            match Box::pin(self.pass(gate, held, mode, patience)).await? {
                // It may have been lost meanwhile.
                Some(held) if !held.is_held() => at_gate.store(false, Relaxed),
                passed => return Ok(passed),
            }
        }
    }

    /// Passes the gate: from now on, no transaction that an earlier holder has fenced is open.
    async fn pass(
        &self,
        gate: LockKey,
        held: Held,
        mode: Mode,
        patience: Patience,
    ) -> Result<Option<Held>> {
        let passed = self.client.acquire(gate, None, mode, patience).await?;
        Ok(passed.map(|_| held.behind_gate(gate)))
    }
}

/// The span around an acquire.
pub(crate) fn acquire_span(key: LockKey, name: Option<&Arc<Name>>, mode: Mode) -> Span {
    let name = name.map(|name| display(Shown(name.text())));
    debug_span!("pglock_acquire", %key, name, %mode)
}

/// Logs what came of an acquire, within its span.
pub(crate) fn log_acquired<T>(acquired: &Result<Option<T>>) {
    match acquired {
        Ok(Some(_)) => trace!("lock acquired"),
        Ok(None) => trace!("lock busy"),
        Err(error) => debug!(%error, "lock not acquired"),
    }
}
