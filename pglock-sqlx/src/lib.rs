#![doc = include_str!("../README.md")]
// Names, on docs.rs, the feature that an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod driver;
mod error;
#[cfg(feature = "migrate")]
mod migration;
mod session;
mod slots;
mod transaction;
mod url;

pub use driver::SqlxDriver;
#[cfg(feature = "migrate")]
pub use migration::{MigrationError, migrate};
#[cfg(feature = "blocking")]
pub use pglock_core::blocking;
pub use pglock_core::key;
#[doc(inline)]
pub use pglock_core::migration::run_exclusively;
pub use pglock_core::recipes;
#[doc(inline)]
pub use pglock_core::{
    AnyGuard, Deadlock, DeadlockWait, DedicatedSession, DistributedRwLock, Error, ErrorKind,
    FencingToken, Lease, LockEntry, LockKey, LockProvider, LockSet, Locks, LocksBuilder, Mode,
    NamedKey, ReadGuard, Refused, Result, RwLock, SetGuard, Stats, TransactionLocks,
    UpgradableReadGuard, WaitStrategy, WriteGuard,
};
pub use slots::SqlxSlots;
pub use sqlx;
pub use transaction::{LockInTransaction, SqlxTransaction};
