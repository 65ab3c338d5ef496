//! What replicas do besides answering requests: one leads, and one runs each nightly job.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use pglock_core::Result;
use pglock_core::recipes::election::Term;
use pglock_core::recipes::schedule::Turn;
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;

use super::Service;

impl Service {
    /// Leads when it is this replica's turn, until shutdown.
    pub(super) async fn lead(&self, shutdown: &CancellationToken) -> Result<()> {
        self.election.run(shutdown.cancelled(), |term| self.work(term)).await?;
        Ok(())
    }

    async fn work(&self, term: Term) -> Result<ControlFlow<()>, Infallible> {
        let mut rhythm = interval(Duration::from_millis(50));
        loop {
            tokio::select! {
                // Stands for what only one replica may do.
                _ = rhythm.tick() => drop(self.rounds.fetch_add(1, Relaxed)),
                () = term.stopping() => return Ok(ControlFlow::Continue(())),
            }
        }
    }

    /// Runs the nights for which this replica is first, until shutdown.
    pub(super) async fn run_nightly(&self, shutdown: &CancellationToken) -> Result<()> {
        self.nightly.run(shutdown.cancelled(), |turn| self.run_night(turn)).await
    }

    async fn run_night(&self, turn: Turn) -> Result<(), Infallible> {
        // Stands for the invoices of the day.
        sleep(Duration::from_millis(20)).await;
        let mut nights = self.nights.lock().unwrap_or_else(PoisonError::into_inner);
        nights.push(turn.slot().time());
        Ok(())
    }
}
