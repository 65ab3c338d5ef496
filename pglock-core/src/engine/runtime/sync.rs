//! Synchronization types: the standard library's, or loom's, which try every order of threads.

#[cfg(not(all(test, pglock_loom)))]
pub(super) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64},
};

#[cfg(all(test, pglock_loom))]
pub(super) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64},
};
