//! The run of a slot, as the work sees it, and its outcome.

use std::time::Duration;

use tokio::sync::watch;

use super::Slot;
use crate::Lease;

/// The run of a slot, as the work sees it. Cheap to clone for parts of the work that run in their
/// own tasks or threads.
///
/// # Examples
///
/// ```
/// use pglock_core::Result;
/// use pglock_core::recipes::schedule::Turn;
///
/// async fn work(turn: Turn) -> Result<()> {
///     // The number of the slot makes requests idempotent that a second run repeats.
///     let request = format!("report/{}", turn.slot().as_micros());
///     let work = async { println!("sends {request}") };
///     tokio::select! {
///         () = work => println!("done: {}", turn.lease().is_held()),
///         () = turn.stopping() => println!("leaves the rest to the next run"),
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Turn {
    slot: Slot,
    lease: Lease,
    stop: watch::Receiver<bool>,
}

impl Turn {
    pub(super) fn new(slot: Slot, lease: Lease, stop: watch::Receiver<bool>) -> Self {
        Self { slot, lease, stop }
    }

    /// The slot for which the work runs.
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Reports whether the lock of the job is still held, to parts of the work that
    /// [`run`](super::Job::run) cannot stop.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Completes when the work must end, because [`run`](super::Job::run) shuts down. From then on,
    /// the work has the [grace period](super::JobBuilder::grace). Never completes in
    /// [`run_due`](super::Job::run_due).
    ///
    /// # Cancel safety
    ///
    /// Dropping this future loses nothing.
    pub async fn stopping(&self) {
        // An error means that the run has ended.
        let _ = self.stop.clone().wait_for(|stop| *stop).await;
    }
}

/// What [`Job::run_due`](super::Job::run_due) did.
///
/// # Examples
///
/// ```
/// use pglock_core::recipes::schedule::Outcome;
///
/// fn report(outcome: &Outcome<Result<(), std::io::Error>>) {
///     match outcome {
///         Outcome::Ran { slot, result, .. } => println!("{:?}: {result:?}", slot.time()),
///         Outcome::NotDue { next, .. } => println!("not yet; the next one is in {next:?}"),
///         _ => println!("another replica runs it"),
///     }
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Outcome<T> {
    /// It ran a slot.
    #[non_exhaustive]
    Ran {
        /// The slot.
        slot: Slot,
        /// What the work returned.
        result: T,
    },
    /// No slot is due: another replica has settled it, or it is not time yet.
    #[non_exhaustive]
    NotDue {
        /// How long it is until the next slot, if there is one.
        next: Option<Duration>,
    },
    /// A slot is due, but another replica has the lock of the job.
    Busy,
}
