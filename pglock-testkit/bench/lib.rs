//! Everything that measures pglock: `compare` compares it with other libraries, `uncontended` with
//! a bare client; `fences` measures what fences and tokens cost, `fleet` what 200 managers cost one
//! server, and `micro` the engine alone.
//! `CONTRIBUTING.md` says how to run them.

pub mod cpus;
