//! What the leases of one guard share, and keep after the guard is dropped.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;

use super::Shared;
use super::liveness::{Liveness, Number, OnLoss, Watcher};
use crate::engine::machine::event::{Event, Moment};
use crate::error::Error;
use crate::key::LockKey;
use crate::lease::LeaseState;

/// Keeps the lease of a session.
pub(crate) trait Keeper: Send + Sync {
    fn now(&self) -> Moment;

    /// Ends the session right here, for all of its guards, because its lease is over.
    fn expire(&self);
}

impl Keeper for Shared {
    fn now(&self) -> Moment {
        self.clock().now()
    }

    fn expire(&self) {
        self.step(Event::Tick);
    }
}

/// Made when a guard is first asked for its lease, so that an acquire allocates nothing for it.
pub(crate) struct Tenure {
    pub(crate) keeper: Arc<dyn Keeper>,
    pub(crate) liveness: Arc<Liveness>,
    pub(crate) key: LockKey,
    /// Only text: a lease must not keep the name registered.
    pub(crate) name: Option<Arc<str>>,
    pub(crate) watcher: Watcher,
}

/// A future that waits for the end.
struct Watch<'a> {
    tenure: &'a Tenure,
    number: Number,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.tenure.liveness.forget_waker(&self.tenure.watcher, self.number);
    }
}

/// Whether the session lives, by the clock.
pub(crate) fn is_alive(keeper: &(impl Keeper + ?Sized), liveness: &Liveness) -> bool {
    if !liveness.has_ended() && !liveness.is_leased(keeper.now()) {
        keeper.expire();
    }
    !liveness.has_ended()
}

/// How long a lock of this session still counts as held.
pub(crate) fn valid_for(keeper: &(impl Keeper + ?Sized), liveness: &Liveness) -> Duration {
    match is_alive(keeper, liveness) {
        true => liveness.leased_until().since(keeper.now()),
        false => Duration::ZERO,
    }
}

impl Tenure {
    /// The guard releases the lock. If its session ends later, that is not a loss.
    pub(crate) fn end(&self) {
        self.liveness.leave(&self.watcher);
    }

    fn is_held(&self) -> bool {
        !self.watcher.has_left() && is_alive(&*self.keeper, &self.liveness)
    }
}

#[async_trait]
impl LeaseState for Tenure {
    fn key(&self) -> LockKey {
        self.key
    }

    fn valid_for(&self) -> Duration {
        match self.watcher.has_left() {
            true => Duration::ZERO,
            false => valid_for(&*self.keeper, &self.liveness),
        }
    }

    /// Ends by the clock, whoever polls it.
    async fn lost(&self) {
        let watch = Watch { tenure: self, number: self.liveness.number() };
        poll_fn(|cx| {
            let waker = cx.waker().clone();
            if !self.is_held() || self.liveness.wake_at_end(&self.watcher, watch.number, waker) {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }

    fn on_loss(&self, act: OnLoss) {
        // If the session has ended unnoticed, it is noticed now.
        self.is_held();
        if let Some(act) = self.liveness.call_at_end(&self.watcher, act) {
            act();
        }
    }

    fn error(&self) -> Error {
        let error = match self.liveness.reason() {
            _ if self.watcher.has_left() => Error::released(),
            Some(reason) => Error::lost_by(reason.clone()),
            None => Error::lost(),
        };
        error.named(self.key, self.name.clone())
    }
}

impl fmt::Debug for Tenure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenure").field("key", &self.key).finish_non_exhaustive()
    }
}
