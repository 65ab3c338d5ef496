//! Everything that measures pglock: `compare` compares it with other libraries, `uncontended` with
//! a bare client, and `micro` measures the engine alone. `CONTRIBUTING.md` says how to run them.

pub mod cpus;
