//! The engine: one for all backends.

mod client;
mod clock;
mod entry;
mod event;
mod life;
mod limits;
#[cfg(feature = "metrics")]
mod metrics;
mod queue;
mod sessions;
mod shared;
mod state;
mod stats;
mod tasks;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub(crate) use client::{Client, Held};
pub(crate) use event::Patience;
pub(crate) use limits::Limits;
pub use limits::WaitStrategy;
pub use stats::Stats;
pub(crate) use tasks::Settings;
