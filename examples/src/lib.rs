//! What pglock is for, one scenario at a time.
//!
//! Each scenario is written once, for every backend: against
//! [`DistributedRwLock`](pglock_core::DistributedRwLock) if it needs one lock,
//! [`LockProvider`](pglock_core::LockProvider) if it needs several, or
//! [`Locks`](pglock_core::Locks) if it needs the manager. The programs that run it on a
//! backend are in a folder per backend: `cargo run -p pglock-examples --example sqlx-basic`. The
//! README of this folder lists them all.

use std::error::Error;

pub mod app;
pub mod config_cache;
pub mod fencing;
pub mod leader_election;
pub mod migration;
pub mod program;
pub mod read_write_locks;
pub mod report;
pub mod resource_pool;
pub mod scheduled_job;
#[cfg(feature = "service")]
pub mod service;
pub mod several_keys;
pub mod task_processing;
pub mod threads;
pub mod timeout;
pub mod transaction;
pub mod workers;

/// The README of the repository: its Rust code is compiled as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub mod readme {}

/// The page for those who run services: its Rust code is compiled as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../../docs/operating.md")]
pub mod operating {}

/// The page for those who come from Ruby: its Rust code is compiled as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../../docs/from-with-advisory-lock.md")]
pub mod from_with_advisory_lock {}

/// What scenarios return: their errors are for people to read.
pub type Result<T = (), E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// What a scenario claims about itself: it fails, and so does its program, if this does not hold.
///
/// # Errors
///
/// The claim, if it does not hold.
pub fn ensure(holds: bool, claim: &str) -> Result {
    if holds { Ok(()) } else { Err(format!("this should hold, and does not: {claim}").into()) }
}

/// An error and its causes in one line, without those whose text is already part of it.
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
