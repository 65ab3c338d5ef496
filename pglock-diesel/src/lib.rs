#![doc = include_str!("../README.md")]

mod driver;
mod error;
mod locks;
mod session;
mod url;

pub use diesel;
pub use diesel_async;
pub use driver::DieselDriver;
pub use locks::Locks;
pub use pglock_core::key;
pub use pglock_core::{
    DistributedRwLock, Error, ErrorKind, LockEntry, LockKey, LocksBuilder, Mode, NamedKey,
    ReadGuard, Result, RwLock, Stats, WaitStrategy, WriteGuard,
};
