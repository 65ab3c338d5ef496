//! What is behind a guard of a dedicated session.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::Dedicated;
use crate::driver::{Hold, Holding};
use crate::engine::meters::HoldTimer;
use crate::engine::runtime::tenure::{self, Tenure};
use crate::engine::waits::Record;
use crate::error::{Error, ErrorKind, Result};
use crate::lease::Lease;
use crate::names::Name;
use crate::owner::Owner;
use crate::token::FencingToken;

/// One guard's share in a lock of the session. Dropping it releases the share.
pub(crate) struct Place {
    session: Arc<Dedicated>,
    lock: Holding,
    is_given_back: bool,
}

impl Place {
    pub(super) fn new(session: Arc<Dedicated>, lock: Holding) -> Self {
        Self { session, lock, is_given_back: false }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_given_back {
            self.session.give_back(self.lock, None);
        }
    }
}

/// The lock of a guard.
pub(crate) struct DedicatedHold {
    place: Place,
    /// Kept, so that the name is known as long as the lock is held.
    name: Option<Arc<Name>>,
    tenure: Arc<Tenure>,
    lease: Lease,
    /// Runs until the guard is released or dropped.
    timer: Option<HoldTimer>,
    /// Its entry in the record of held locks, if it has one.
    record: Option<Record>,
}

impl DedicatedHold {
    pub(crate) fn new(place: Place, name: Option<Arc<Name>>, timer: Option<HoldTimer>) -> Self {
        let liveness = &place.session.liveness;
        let tenure = Arc::new(Tenure {
            keeper: place.session.clone(),
            liveness: liveness.clone(),
            key: place.lock.key,
            name: name.as_ref().map(|name| name.text().clone()),
            watcher: liveness.new_watcher(),
        });
        let lease = Lease::from_shared(tenure.clone());
        let owner = place.session.pid().map_or_else(Owner::current, Owner::in_session);
        let record = place.session.shared.waits().hold(place.lock.key, owner);
        Self { place, name, tenure, lease, timer, record }
    }

    fn lost(&self) -> Error {
        let error = match self.place.session.liveness.reason() {
            Some(reason) if reason.kind() == ErrorKind::Closed => reason.clone(),
            Some(reason) => Error::lost_by(reason.clone()),
            None => Error::lost(),
        };
        error.about(self.place.lock.key, self.name.as_ref())
    }
}

#[async_trait]
impl Hold for DedicatedHold {
    fn lease(&self) -> &Lease {
        &self.lease
    }

    async fn fencing_token(&self) -> Result<FencingToken> {
        let error = Error::new(
            ErrorKind::InvalidOptions,
            "a guard of a dedicated session has no fencing token: take the lock by Locks::rwlock",
        );
        Err(error.about(self.place.lock.key, self.name.as_ref()))
    }

    /// It stays a write lock.
    fn downgrade(&mut self) {}

    /// It stays a read lock.
    async fn try_upgrade(&mut self) -> Result<bool> {
        match self.lease.is_held() {
            true => Ok(false),
            false => Err(self.lost()),
        }
    }

    async fn release(mut self: Box<Self>) -> Result<()> {
        self.tenure.end();
        self.timer = None;
        let session = self.place.session.clone();
        if !tenure::is_alive(&*session, &session.liveness) {
            return Err(self.lost());
        }
        self.place.is_given_back = true;
        session.release(self.place.lock).await.map_err(|_| self.lost())
    }
}

impl Drop for DedicatedHold {
    fn drop(&mut self) {
        if let Some(record) = self.record {
            self.place.session.shared.waits().let_go(record);
        }
        // Before the place is dropped, which releases the lock.
        self.tenure.end();
    }
}

impl fmt::Debug for DedicatedHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DedicatedHold")
            .field("key", &self.place.lock.key)
            .field("name", &self.name)
            .field("mode", &self.place.lock.mode)
            .field("backend_pid", &self.place.session.pid())
            .field("is_held", &self.lease.is_held())
            .finish()
    }
}
