//! What pglock is for, one scenario at a time.
//!
//! Each scenario is written once, against [`DistributedRwLock`]; the programs that run it on a
//! backend are in a folder per backend: `cargo run -p pglock-examples --example sqlx-basic`. The
//! README of this folder lists them all.

use std::error::Error;

use pglock_core::driver::Driver;
use pglock_core::{DistributedRwLock, LockKey, Locks};

pub mod config_cache;
pub mod leader_election;
pub mod migration;
pub mod program;
pub mod read_write_locks;
pub mod report;
pub mod resource_pool;
pub mod scheduled_job;
pub mod task_processing;
pub mod timeout;
pub mod workers;

/// The README of the repository: its Rust code is compiled as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub mod readme {}

/// What scenarios return: their errors are for people to read.
pub type Result<T = (), E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// Where a scenario with several keys gets its locks, whatever the backend.
pub trait LockSource: Sync {
    /// The lock on this key.
    fn rwlock(&self, key: LockKey) -> Box<dyn DistributedRwLock>;
}

impl<D: Driver> LockSource for Locks<D> {
    fn rwlock(&self, key: LockKey) -> Box<dyn DistributedRwLock> {
        Box::new(self.rwlock(key))
    }
}

/// What a scenario claims about itself: it fails, and so does its program, if this does not hold.
///
/// # Errors
///
/// The claim, if it does not hold.
pub fn ensure(holds: bool, claim: &str) -> Result {
    if holds { Ok(()) } else { Err(format!("this should hold, and does not: {claim}").into()) }
}

/// An error and its causes in one line, without repeating what a text above has said already.
pub fn in_one_line(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        source = cause.source();
    }
    line
}
