//! The inside of a guard: the engine's lock, or that of another backend.

use std::time::Duration;

use crate::driver::Hold;
use crate::engine;
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
