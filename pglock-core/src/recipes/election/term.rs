//! The term of a leader, as its work sees it.

use std::sync::Arc;

use tokio::sync::watch;

use super::Leadership;
use super::candidate::Candidate;
use crate::Lease;

/// A term, as the work of [`Election::run`](super::Election::run) sees it. It is cheap to clone for
/// parts of the work that run in their own tasks or threads.
///
/// # Examples
///
/// ```
/// use std::ops::ControlFlow;
///
/// use pglock_core::Result;
/// use pglock_core::recipes::election::Term;
///
/// # async fn next_job() -> u32 { 7 }
/// # async fn work_on(job: u32) {}
/// async fn work(term: Term) -> Result<ControlFlow<()>> {
///     println!("term {} begins", term.number());
///     let lease = term.lease().clone(); // what runs in a task of its own ends with the term, too
///     tokio::spawn(async move { lease.protect(async { /* … */ }).await });
///     loop {
///         tokio::select! {
///             job = next_job() => work_on(job).await,
///             () = term.asked_to_resign() => return Ok(ControlFlow::Continue(())),
///             () = term.stopping() => return Ok(ControlFlow::Break(())),
///         }
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Term {
    candidate: Arc<Candidate>,
    number: u64,
    lease: Lease,
    stop: watch::Receiver<bool>,
}

impl Term {
    pub(super) fn new(
        candidate: &Arc<Candidate>,
        leadership: &Leadership,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let lease = leadership.lease().clone();
        Self { candidate: candidate.clone(), number: leadership.term(), lease, stop }
    }

    /// The number of this term among those of this candidate: the first one is 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Reports whether the candidate still leads, to parts of the work that
    /// [`run`](super::Election::run) cannot stop. It ends with the term.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Completes when the work must end, because [`run`](super::Election::run) shuts down. From
    /// then on, the work has the [grace period](super::Election::grace), in which the candidate
    /// still leads.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future loses nothing.
    pub async fn stopping(&self) {
        // An error means that the term has ended.
        let _ = self.stop.clone().wait_for(|stop| *stop).await;
    }

    /// Completes when another process asks this one to resign: see
    /// [`Leadership::asked_to_resign`].
    ///
    /// # Cancel safety
    ///
    /// Dropping this future loses nothing; a later call reports the request as well.
    pub async fn asked_to_resign(&self) {
        self.candidate.asked_to_resign().await;
    }
}
