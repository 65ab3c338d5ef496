//! Locks in memory, a test PostgreSQL, and the cases that every pglock backend runs.
//!
//! | module | what it has | feature |
//! |---|---|---|
//! | [`memory`](mod@memory) | locks for unit tests without PostgreSQL, in one line | `memory` |
//! | [`conformance`](mod@conformance) | the cases, and how to run them on a backend | `conformance` |
//! | `encrypted` | checks that an adapter uses TLS; Unix only | `conformance` |
//! | [`faults`] | tools that disturb servers, processes and networks | `faults` |
//! | [`postgres`] | finds a PostgreSQL for tests and examples, starts it and cleans up | `postgres` |
//! | [`faulty`] | a driver that fails at a chosen point | |
//! | [`witness`] | shows holders and waiters, independently of the backend | |
//! | [`slots`] | the checks of a store of slots for scheduled jobs | `conformance` |
//! | [`transactions`] | the cases of locks in a transaction of the application | `conformance` |
//!
//! By default, `conformance` and `memory` are on. `conformance` turns `faults` on, and `faults`
//! turns `postgres` on. The feature `download` turns `postgres` on too, and downloads a PostgreSQL
//! where none is installed.
//!
//! Unit tests that only need locks in memory build faster without the rest:
//!
//! ```toml
//! [dev-dependencies]
//! pglock-testkit = { version = "0.1", default-features = false, features = ["memory"] }
//! ```

// Names, on docs.rs, the feature that an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(all(unix, feature = "conformance"))]
pub mod encrypted;
#[cfg(feature = "faults")]
pub mod faults;
pub mod faulty;
#[cfg(feature = "memory")]
pub mod memory;
#[cfg(feature = "postgres")]
#[cfg_attr(
    not(feature = "faults"),
    allow(dead_code, unused_imports, reason = "`faults` uses more of it")
)]
pub mod postgres;
#[cfg(feature = "conformance")]
pub mod slots;
#[cfg(feature = "conformance")]
pub mod transactions;
pub mod witness;

#[cfg(feature = "memory")]
pub use memory::memory;

// Included so that its examples are tested.
#[cfg(all(doctest, feature = "memory"))]
#[doc = include_str!("../README.md")]
struct Readme;
