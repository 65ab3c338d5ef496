//! A test PostgreSQL, and the checks that every pglock backend runs.
//!
//! * [`conformance`](mod@conformance): the checks, and how to run them on a backend.
//! * [`faults`]: what can go wrong, made to happen.
//! * [`postgres`]: a PostgreSQL for tests and examples, found, started and cleaned up.
//! * [`witness`]: who holds and who waits, as the server tells a third client.

pub mod conformance;
pub mod faults;
pub mod postgres;
pub mod witness;
