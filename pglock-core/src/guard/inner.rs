//! The inside of a guard: the engine's lock, or that of another backend.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::driver::Hold;
use crate::engine::{self, Patience};
use crate::error::{Error, Result};
use crate::key::LockKey;
use crate::lease::Lease;

/// The engine's own guards need no box.
pub(super) enum Inner {
    Engine(engine::Held),
    Other(Box<dyn Hold>),
}

impl Inner {
    pub(super) fn lease(&self) -> &Lease {
        match self {
            Self::Engine(held) => held.lease(),
            Self::Other(hold) => hold.lease(),
        }
    }

    /// The error, with the key and the name of the lock.
    pub(super) fn about(&self, error: Error) -> Error {
        match self {
            Self::Engine(held) => held.about(error),
            Self::Other(_) => error,
        }
    }

    pub(super) fn downgrade(&mut self) {
        match self {
            Self::Engine(held) => held.downgrade(),
            Self::Other(hold) => hold.downgrade(),
        }
    }

    /// Other backends pass their locks on as they like.
    pub(super) fn end_hand_overs(&self) {
        if let Self::Engine(held) = self {
            held.end_hand_overs();
        }
    }

    /// Whether it is a write lock from now on.
    pub(super) async fn try_upgrade(&mut self) -> Result<bool> {
        self.upgrade(Patience::Try, &AtomicBool::new(false)).await
    }

    /// The same. `at_gate`: set once only the gate is to be passed. Other backends do not wait for
    /// other readers.
    pub(super) async fn upgrade(
        &mut self,
        patience: Patience,
        at_gate: &AtomicBool,
    ) -> Result<bool> {
        match self {
            Self::Engine(held) => held.upgrade(patience, at_gate).await,
            Self::Other(hold) => hold.try_upgrade().await,
        }
    }

    /// The gate of a fenced lock.
    pub(super) fn gate(&self) -> Option<LockKey> {
        match self {
            Self::Engine(held) => held.gate(),
            Self::Other(_) => None,
        }
    }

    // The methods below need no lease if the engine granted the lock, so they allocate nothing.

    pub(super) fn key(&self) -> LockKey {
        match self {
            Self::Engine(held) => held.key(),
            Self::Other(hold) => hold.lease().key(),
        }
    }

    pub(super) fn valid_for(&self) -> Duration {
        match self {
            Self::Engine(held) => held.valid_for(),
            Self::Other(hold) => hold.lease().valid_for(),
        }
    }

    pub(super) fn is_held(&self) -> bool {
        match self {
            Self::Engine(held) => held.is_held(),
            Self::Other(hold) => hold.lease().is_held(),
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(held) => held.fmt(f),
            Self::Other(hold) => hold.fmt(f),
        }
    }
}
