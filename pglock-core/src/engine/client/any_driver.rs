//! A driver behind the engine, whatever its type.

use std::fmt;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::driver::Driver;
use crate::engine::dedicated::{Dedicated, Opened, start};
use crate::engine::runtime::Shared;
use crate::engine::runtime::tasks::{Settings, start_manager};

/// A driver whose type only the engine's tasks need to know.
pub(crate) trait AnyDriver: fmt::Debug + Send + Sync {
    /// Starts the task that opens sessions with this driver.
    fn start_manager(
        self: Arc<Self>,
        shared: &Arc<Shared>,
        thread: &Handle,
        settings: &Arc<Settings>,
    );

    /// Starts the task of a dedicated session.
    fn start_session(self: Arc<Self>, session: &Arc<Dedicated>, runtime: &Handle, opened: Opened);
}

impl<D: Driver> AnyDriver for D {
    fn start_manager(
        self: Arc<Self>,
        shared: &Arc<Shared>,
        thread: &Handle,
        settings: &Arc<Settings>,
    ) {
        start_manager(shared, thread, &self, settings);
    }

    fn start_session(self: Arc<Self>, session: &Arc<Dedicated>, runtime: &Handle, opened: Opened) {
        start(session, self, runtime, opened);
    }
}
