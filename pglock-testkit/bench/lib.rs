//! All that measures pglock, in one package: `compare`, next to other libraries; `uncontended`,
//! next to a bare client; and `micro`, the engine alone. `CONTRIBUTING.md` says how to run them.

pub mod cpus;
