//! One replica, as a process.

use std::env;
use std::sync::Arc;

use pglock_core::LocksBuilder;
use pglock_core::recipes::schedule::SlotStore;
use tokio::net::TcpListener;
use tokio::signal::ctrl_c;
#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Service;
use crate::Result;

/// The environment variable that names the replica. The name is a label of its metrics, so it must
/// be the same after a restart.
pub(super) const NAME: &str = "REPLICA";

/// Serves at this address, such as `127.0.0.1:8080`, until Ctrl-C or SIGTERM.
///
/// # Errors
///
/// Those of the service.
pub async fn run(address: &str, locks: LocksBuilder, slots: Arc<dyn SlotStore>) -> Result {
    let name = env::var(NAME).unwrap_or_else(|_| "replica".to_owned());
    let service = Service::new(locks.application_name(name).build()?, slots)?;
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        if interrupted().await.is_ok() {
            stop.cancel();
        }
    });
    service.serve(listener, shutdown).await
}

#[cfg(unix)]
async fn interrupted() -> std::io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = ctrl_c() => interrupted,
        _ = terminated.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn interrupted() -> std::io::Result<()> {
    ctrl_c().await
}
