#![doc = include_str!("../README.md")]

mod driver;
mod error;
mod locks;
mod session;
mod url;

pub use driver::SqlxDriver;
pub use locks::Locks;
pub use pglock_core::key;
pub use pglock_core::{
    DistributedRwLock, Error, ErrorKind, LockEntry, LockKey, LocksBuilder, Mode, NamedKey,
    ReadGuard, Result, RwLock, Stats, WaitStrategy, WriteGuard,
};
pub use sqlx;
