//! Locks in memory, a test PostgreSQL, and the checks that every pglock backend runs.
//!
//! * [`memory`](mod@memory): locks for unit tests without PostgreSQL, in one line.
//! * [`conformance`](mod@conformance): the checks, and how to run them on a backend.
//! * [`cpus`]: on which CPUs a benchmark and its server run.
//! * `encrypted`: whether an adapter keeps to TLS. Unix only.
//! * [`faults`]: what can go wrong around a server, made to happen.
//! * [`faulty`]: a driver that fails where a test wants it to.
//! * [`postgres`]: a PostgreSQL for tests and examples, found, started and cleaned up.
//! * [`uncontended`]: what a lock costs that nobody else wants, measured for an adapter.
//! * [`witness`]: who holds and who waits, as the server tells a third client.

// Names, on docs.rs, the feature that an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod conformance;
pub mod cpus;
#[cfg(unix)]
pub mod encrypted;
pub mod faults;
pub mod faulty;
pub mod memory;
pub mod postgres;
pub mod uncontended;
pub mod witness;

pub use memory::memory;

// So that its examples are tested.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
