//! What threads meet at: the standard library's, or loom's, which tries every order in which they
//! may come.

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
