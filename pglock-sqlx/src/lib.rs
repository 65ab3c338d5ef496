//! Distributed read-write locks on PostgreSQL advisory locks, over sqlx.
//!
//! TLS is what the application chose: this crate enables none of sqlx's TLS features, and uses the one that the application enables.

mod driver;
mod error;
mod locks;
mod session;

pub use driver::SqlxDriver;
pub use locks::Locks;
pub use pglock_core::{
    DistributedRwLock, Error, ErrorKind, LockKey, LocksBuilder, ReadGuard, Result, RwLock, Stats,
    WaitStrategy, WriteGuard,
};
pub use sqlx;
