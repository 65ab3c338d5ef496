#![doc = include_str!("../README.md")]
// Names, on docs.rs, the feature that an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod driver;
mod error;
#[cfg(any(feature = "bb8", feature = "deadpool", feature = "mobc"))]
mod pool;
mod session;
mod slots;
mod transaction;
mod url;

pub use diesel;
pub use diesel_async;
pub use driver::DieselDriver;
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
#[cfg(any(feature = "bb8", feature = "deadpool", feature = "mobc"))]
pub use pool::Pool;
pub use slots::DieselSlots;
pub use tokio_postgres;
pub use transaction::{DieselTransaction, LockInTransaction};
