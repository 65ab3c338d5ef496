//! Runs the application's work under a lease, until it ends or has to end.

use std::fmt::Display;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::watch;

use super::contained::Contained;
use super::shutdown::Shutdown;
use crate::{Error, Lease, Result, timer};

/// How work ended.
pub(super) enum Ended<T> {
    Returned(T),
    Failed(String),
    Panicked(String),
    /// The lock was lost, and the work was dropped.
    Lost(Error),
    /// The work did not end within the grace period of a shutdown, and was dropped.
    Overdue,
}

/// Makes the work and runs it while the lease lasts. A shutdown sets `stop`, and leaves the work its
/// grace period. When this returns or is dropped, the work has ended.
pub(super) async fn work_under<S, W, T, E>(
    lease: &Lease,
    make: impl FnOnce() -> W,
    shutdown: &mut Shutdown<'_, S>,
    stop: watch::Sender<bool>,
    grace: Duration,
) -> Result<Ended<T>>
where
    S: Future<Output = ()>,
    W: Future<Output = Result<T, E>>,
    E: Display,
{
    let mut work = Contained::new(|| ended(make()));
    let ended = {
        let mut working = pin!(lease.protect(&mut work));
        tokio::select! {
            biased;
            ended = &mut working => Some(ended),
            () = shutdown.wait() => {
                stop.send_replace(true);
                timer::timeout(grace, working).await?
            }
        }
    };
    let panicked = work.end().map(Ended::Panicked);
    Ok(panicked.unwrap_or_else(|| match ended {
        Some(Ok(Ok(ended))) => ended,
        Some(Ok(Err(panic))) => Ended::Panicked(panic),
        Some(Err(error)) => Ended::Lost(error),
        None => Ended::Overdue,
    }))
}

/// Part of the work, because the error may panic when it is shown.
async fn ended<T, E: Display>(work: impl Future<Output = Result<T, E>>) -> Ended<T> {
    match work.await {
        Ok(output) => Ended::Returned(output),
        // The alternate form shows the causes, if there are any.
        Err(error) => Ended::Failed(format!("{error:#}")),
    }
}
