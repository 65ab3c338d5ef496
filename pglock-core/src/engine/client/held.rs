//! A lock that the engine granted, as a guard holds it.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::Client;
use super::call::Call;
use super::commands::{Release, Upgrade};
use super::watching::Watched;
use crate::engine::machine::event::{Event, GrantId, Patience};
use crate::engine::meters::HoldTimer;
use crate::engine::runtime::liveness::Liveness;
use crate::engine::runtime::tenure::{self, Tenure};
use crate::engine::waits::Record;
use crate::error::{Error, ErrorKind, Result};
use crate::key::LockKey;
use crate::lease::Lease;
use crate::mode::Mode;
use crate::names::Name;
use crate::owner::{Owner, Scope};
use crate::token::FencingToken;

/// A lock that the engine granted. Releases it when dropped.
pub(crate) struct Held {
    pub(super) client: Arc<Client>,
    pub(super) liveness: Arc<Liveness>,
    pub(super) key: LockKey,
    /// Which an upgrade passes as well, if it was passed.
    gate: Option<LockKey>,
    /// Kept, so that the name is known as long as the lock is held.
    name: Option<Arc<Name>>,
    mode: Mode,
    /// From the time when a caller has it.
    timer: Option<HoldTimer>,
    pub(super) grant: Option<GrantId>,
    /// Where it is on record as held, if it is.
    record: Option<Record>,
    /// Whether a wait for an upgrade fails that is part of a deadlock.
    gives_up: bool,
    /// Made when it is first asked for.
    lease: OnceLock<(Arc<Tenure>, Lease)>,
    /// Minted when it is first asked for.
    pub(super) token: OnceLock<FencingToken>,
}

impl Held {
    pub(super) fn new(
        client: Arc<Client>,
        liveness: Arc<Liveness>,
        key: LockKey,
        name: Option<Arc<Name>>,
        mode: Mode,
        grant: GrantId,
    ) -> Self {
        Self {
            client,
            liveness,
            key,
            gate: None,
            name,
            mode,
            timer: None,
            grant: Some(grant),
            record: None,
            gives_up: false,
            lease: OnceLock::new(),
            token: OnceLock::new(),
        }
    }

    /// Puts on record that the caller holds it.
    pub(super) fn recorded(mut self) -> Self {
        let scope = Scope::current();
        self.record = self.client.shared.waits().hold(self.key, Owner::within(scope));
        self.gives_up = scope.gives_up;
        self
    }

    /// No transaction that an earlier holder has fenced is open.
    pub(crate) fn behind_gate(mut self, gate: LockKey) -> Self {
        self.gate = Some(gate);
        self
    }

    /// A caller has it, and is measured by this timer.
    pub(crate) fn timed(mut self, timer: Option<HoldTimer>) -> Self {
        self.timer = timer;
        self
    }

    pub(crate) fn key(&self) -> LockKey {
        self.key
    }

    pub(crate) fn gate(&self) -> Option<LockKey> {
        self.gate
    }

    pub(crate) fn client(&self) -> Arc<Client> {
        self.client.clone()
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    pub(crate) fn lease(&self) -> &Lease {
        let (_, lease) = self.lease.get_or_init(|| {
            let tenure = Arc::new(Tenure {
                keeper: self.client.shared.clone(),
                liveness: self.liveness.clone(),
                key: self.key,
                name: self.name.as_ref().map(|name| name.text().clone()),
                watcher: self.liveness.new_watcher(),
            });
            let lease = Lease::from_shared(tenure.clone());
            (tenure, lease)
        });
        lease
    }

    pub(crate) fn is_held(&self) -> bool {
        tenure::is_alive(&*self.client.shared, &self.liveness)
    }

    pub(crate) fn valid_for(&self) -> Duration {
        tenure::valid_for(&*self.client.shared, &self.liveness)
    }

    fn set_mode(&mut self, mode: Mode) {
        if self.mode != mode {
            self.mode = mode;
            self.timer = Some(self.client.meters.start_hold(mode));
        }
    }

    /// From now on, it is a read lock.
    pub(crate) fn downgrade(&mut self) {
        self.set_mode(Mode::Read);
        if let Some(grant) = self.grant {
            self.client.shared.step(Event::Downgrade { key: self.key, grant });
        }
    }

    /// Other processes that wait have it next, even before callers of this one.
    pub(crate) fn end_hand_overs(&self) {
        if let Some(grant) = self.grant {
            self.client.shared.step(Event::EndHandOvers { key: self.key, grant });
        }
    }

    /// Whether it is a write lock from now on. If not, or if this future is dropped, it is a read
    /// lock as before. `at_gate`: set once only the gate is to be passed.
    pub(crate) async fn upgrade(
        &mut self,
        patience: Patience,
        at_gate: &AtomicBool,
    ) -> Result<bool> {
        let gives_up = self.gives_up;
        let mut upgrade = pin!(self.upgrade_by_gate(patience, at_gate));
        poll_fn(|cx| Scope::poll_for_lock(gives_up, upgrade.as_mut(), cx)).await
    }

    async fn upgrade_by_gate(&mut self, patience: Patience, at_gate: &AtomicBool) -> Result<bool> {
        let Some(grant) = self.grant else {
            return Err(self.about(Error::released()));
        };
        let upgrade = Upgrade { key: self.key, grant, patience };
        let upgrade = Call::new(&self.client, upgrade);
        let upgraded = Watched::new(&self.client, self.key, patience, upgrade).await;
        if !upgraded.map_err(|error| self.explained(error))? {
            return Ok(false);
        }
        at_gate.store(true, Ordering::Relaxed);
        let mut upgraded = Upgraded { held: self, is_done: false };
        upgraded.is_done = upgraded.held.pass_gate(patience).await?;
        Ok(upgraded.is_done)
    }

    /// False if a transaction is open that a reader has fenced.
    async fn pass_gate(&mut self, patience: Patience) -> Result<bool> {
        if let Some(gate) = self.gate {
            let passed = self.client.acquire(gate, None, Mode::Write, patience).await;
            if passed.map_err(|error| self.about(error))?.is_none() {
                return Ok(false);
            }
        }
        self.set_mode(Mode::Write);
        // The session may have ended before the caller could look.
        match self.is_held() {
            true => Ok(true),
            false => Err(self.explained(Error::lost())),
        }
    }

    pub(crate) fn about(&self, error: Error) -> Error {
        error.about(self.key, self.name.as_ref())
    }

    /// Once; a second time does nothing.
    pub(crate) async fn release(&mut self) -> Result<()> {
        let (client, key, held) = (&self.client, self.key, &mut self.grant);
        let Some(grant) = *held else {
            return Ok(());
        };
        if let Some((tenure, _)) = self.lease.get() {
            tenure.end();
        }
        self.timer = None;
        let released = Call::new(client, Release { key, grant, held }).await;
        released.map_err(|error| self.explained(error))
    }

    /// The error, with what has ended the session if it is about a loss.
    fn explained(&self, error: Error) -> Error {
        match (error.kind(), self.liveness.reason()) {
            (ErrorKind::Lost, Some(reason)) => self.about(Error::lost_by(reason.clone())),
            _ => self.about(error),
        }
    }
}

/// A lock that was upgraded. Unless the upgrade is done, it becomes a read lock again when this is
/// dropped.
struct Upgraded<'a> {
    held: &'a mut Held,
    is_done: bool,
}

impl Drop for Upgraded<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.held.downgrade();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(record) = self.record {
            self.client.shared.waits().let_go(record);
        }
        // Before anybody else can have the lock.
        if let Some((tenure, _)) = self.lease.get() {
            tenure.end();
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
