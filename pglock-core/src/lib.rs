//! Distributed read-write locks on PostgreSQL advisory locks: the trait, the guards and the engine.

pub mod driver;
pub mod key;

mod engine;
mod error;
mod guard;
mod locks;
mod mode;
mod rwlock;
mod sql;

pub use engine::{Stats, WaitStrategy};
pub use error::{Error, ErrorKind, Result};
pub use guard::{Hold, ReadGuard, WriteGuard};
pub use key::LockKey;
pub use locks::{Locks, LocksBuilder};
pub use mode::Mode;
pub use rwlock::{DistributedRwLock, RwLock};
