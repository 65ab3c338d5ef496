//! Distributed read-write locks on PostgreSQL advisory locks: the trait, the guards and the engine.
//!
//! Applications depend on an adapter, such as `pglock-sqlx`, which re-exports what they need from here.
//!
//! # Tour
//!
//! - [`Locks`] is a lock manager: one per process and database. It owns the few sessions that hold the locks.
//! - [`RwLock`] is the lock on one [`LockKey`]: [`try_write`](RwLock::try_write), [`write`](RwLock::write), [`try_write_for`](RwLock::try_write_for), and the same for
//!   reading.
//! - [`ReadGuard`] and [`WriteGuard`] are held locks. Dropping one releases it; [`release`](WriteGuard::release) also confirms.
//! - [`DistributedRwLock`] is the object-safe trait behind which applications hide the backend.
//! - [`Error`] has a [`kind`](Error::kind) to branch on. A busy lock is not an error.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use pglock_core::{DistributedRwLock, ErrorKind, Result};
//!
//! async fn refresh(lock: &dyn DistributedRwLock) -> Result<bool> {
//!     match lock.try_write_for(Duration::from_secs(3)).await {
//!         Ok(guard) => {
//!             // … work, while guard.is_held() …
//!             guard.release().await?;
//!             Ok(true)
//!         }
//!         Err(error) if error.kind() == ErrorKind::Timeout => Ok(false),
//!         Err(error) => Err(error),
//!     }
//! }
//! ```
//!
//! # Guarantees
//!
//! Any number of readers or one writer hold a key, among all tasks and processes that use the same database. An acquire that fails, times out or is dropped leaves
//! neither a lock nor a waiter behind. Callers of one manager are served in order, and the server's queue decides among processes. A lock ends with
//! the server session that holds it, of which its guards are told; see [`WriteGuard::is_held`] for what that cannot promise.
//!
//! # For adapter authors
//!
//! A backend implements [`driver::Driver`] and [`driver::Session`]: connect, run a request, notice the end, close. All SQL and all lock logic is here. A
//! backend that is not PostgreSQL may implement [`DistributedRwLock`] itself and build guards from its own [`Hold`]. Either way
//! the suite of `pglock-testkit` tells whether it keeps the contract.

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
