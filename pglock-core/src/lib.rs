//! Distributed read-write locks on PostgreSQL advisory locks: the trait, the guards and the engine.

pub mod driver;
pub mod key;

mod engine;
mod error;
mod mode;
mod sql;

pub use error::{Error, ErrorKind, Result};
pub use key::LockKey;
pub use mode::Mode;
