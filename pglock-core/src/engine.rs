//! The engine.

mod entry;
mod event;
mod limits;
mod queue;
mod sessions;
mod state;

pub use limits::WaitStrategy;
