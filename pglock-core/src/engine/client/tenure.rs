//! What the leases of one guard share, and keep after the guard is dropped.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;

use crate::engine::machine::event::Event;
use crate::engine::runtime::Shared;
use crate::engine::runtime::liveness::{Liveness, Number, OnLoss, Watcher};
use crate::error::Error;
use crate::key::LockKey;
use crate::lease::LeaseState;

/// Made when a guard is first asked for its lease, so that an acquire allocates nothing for it.
pub(super) struct Tenure {
    pub(super) shared: Arc<Shared>,
    pub(super) liveness: Arc<Liveness>,
    pub(super) key: LockKey,
    /// Only text: a lease must not keep the name registered.
    pub(super) name: Option<Arc<str>>,
    pub(super) watcher: Watcher,
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
pub(super) fn is_alive(shared: &Shared, liveness: &Liveness) -> bool {
    if !liveness.has_ended() && !liveness.is_leased(shared.clock().now()) {
        // If the lease is over, the session ends right here, for all of its guards.
        shared.step(Event::Tick);
    }
    !liveness.has_ended()
}

/// How long a lock of this session still counts as held.
pub(super) fn valid_for(shared: &Shared, liveness: &Liveness) -> Duration {
    match is_alive(shared, liveness) {
        true => liveness.leased_until().since(shared.clock().now()),
        false => Duration::ZERO,
    }
}

impl Tenure {
    /// The guard releases the lock. If its session ends later, that is not a loss.
    pub(super) fn end(&self) {
        self.liveness.leave(&self.watcher);
    }

    fn is_held(&self) -> bool {
        !self.watcher.has_left() && is_alive(&self.shared, &self.liveness)
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
            false => valid_for(&self.shared, &self.liveness),
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
