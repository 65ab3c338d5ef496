//! Recipes: common uses of locks, ready-made.
//!
//! | recipe | for | namespace of its keys |
//! |---|---|---|
//! | [`election`] | one leader among several processes | `pglock-election`, `pglock-election-resign` |
//! | [`schedule`] | scheduled jobs: one run for each slot, over all replicas | `pglock-schedule` |
//! | [`semaphore`] | a limited number of holders, over all processes; a pool of resources | `pglock-semaphore` |
//!
//! Recipes use the public interface of locks only, so they run on every backend that has a
//! [`LockProvider`](crate::LockProvider). They take their locks from the manager that you give
//! them, and open no sessions of their own.
//!
//! # Keys
//!
//! The key of a recipe is that of its name in a namespace of its own:
//! [`NamedKey::in_namespace`](crate::NamedKey::in_namespace)`("pglock-election", "scheduler")`. So
//! a recipe never meets the application's own locks. Namespaces never change, because programs of
//! different versions share these keys.
//!
//! | namespace | name | key |
//! |---|---|---|
//! | `pglock-election` | `scheduler` | 5530788690693005019 |
//! | `pglock-election` | `漢字🔒` | 5117683298543083464 |
//! | `pglock-election-resign` | `scheduler/4711` | 1702348921991126951 |
//! | `pglock-election-resign` | `漢字🔒/4711` | -6290854773248182294 |
//! | `pglock-schedule` | `nightly-report` | 4805856842694462155 |
//! | `pglock-schedule` | `漢字🔒` | 2059271691587688200 |
//! | `pglock-semaphore` | `encoders` | 1788320468820361216, the first of [65 536](semaphore#keys) |
//! | `pglock-semaphore` | `漢字🔒` | 4485897762098315264, the first of 65 536 |

pub(crate) mod any;
mod contained;
pub mod election;
mod pauses;
pub mod schedule;
pub mod semaphore;
pub(crate) mod set;
mod shutdown;
mod together;
mod working;

/// The namespaces of the keys of recipes. Never change one.
mod namespace {
    pub(super) const ELECTION: &str = "pglock-election";
    pub(super) const ELECTION_RESIGN: &str = "pglock-election-resign";
    pub(super) const SCHEDULE: &str = "pglock-schedule";
    pub(super) const SEMAPHORE: &str = "pglock-semaphore";
}

#[cfg(test)]
mod tests;
