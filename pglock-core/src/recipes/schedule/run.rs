//! Runs a job: slot by slot until a shutdown, or only the slot that is due.

use std::fmt::Display;
use std::future::poll_fn;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{error, warn};

use super::begin::{Begun, Step};
use super::{Job, Outcome, Turn};
use crate::owner::Scope;
use crate::recipes::pauses::{Pauses, is_final};
use crate::recipes::shutdown::Shutdown;
use crate::recipes::working::{Ended, work_under};
use crate::{Result, timer};

/// The longest time between two looks, in case a clock changes or the machine sleeps.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The least time that a shutdown leaves to settle the slot of work that is done.
const TIME_TO_RECORD: Duration = Duration::from_secs(1);

impl Job {
    /// Runs the work for each slot that falls to this replica, until `shutdown` completes.
    ///
    /// - **The lock outlasts the work.** It is released only when the work has returned or was
    ///   dropped, even on shutdown, after a panic, and if the future of `run` is dropped.
    /// - **A loss stops the work** at its next `await`, as in
    ///   [`Lease::protect`](crate::Lease::protect).
    /// - **Errors do not end it**, except those that only a change of the program can fix: it logs
    ///   them, [pauses](super::JobBuilder::back_off), and tries again. The same holds for work that
    ///   fails or panics; the [promise](super#at-most-once-or-at-least-once) says whether its slot
    ///   runs again.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future drops the work, and then the lock. An at-most-once job may have settled
    /// the slot although its work had not begun.
    ///
    /// # Errors
    ///
    /// Those that trying again cannot fix: [`Closed`](crate::ErrorKind::Closed),
    /// [`NoRuntime`](crate::ErrorKind::NoRuntime),
    /// [`InvalidOptions`](crate::ErrorKind::InvalidOptions) and
    /// [`KeyCollision`](crate::ErrorKind::KeyCollision).
    ///
    /// # Examples
    ///
    /// See [the module](super).
    pub async fn run<F, W, E>(&self, shutdown: impl Future<Output = ()>, work: F) -> Result<()>
    where
        F: FnMut(Turn) -> W,
        W: Future<Output = Result<(), E>>,
        E: Display,
    {
        let scope = Scope::of_run();
        let mut slots = pin!(self.run_slots(shutdown, work));
        poll_fn(|cx| scope.poll(slots.as_mut(), cx)).await
    }

    async fn run_slots<F, W, E>(
        &self,
        shutdown: impl Future<Output = ()>,
        mut work: F,
    ) -> Result<()>
    where
        F: FnMut(Turn) -> W,
        W: Future<Output = Result<(), E>>,
        E: Display,
    {
        #[cfg(feature = "metrics")]
        super::metrics::register(&self.shared.name);
        let shutdown = pin!(shutdown);
        let mut shutdown = Shutdown::new(shutdown);
        let mut pauses = Pauses::new(self.shared.back_off);
        loop {
            let begin = Instant::now();
            let Some(step) = shutdown.or(self.begin()).await else { return Ok(()) };
            let pause = match step {
                Ok(Step::Begun(begun)) => {
                    if self.turn(begun, &mut shutdown, &mut work).await? {
                        pauses = Pauses::new(self.shared.back_off);
                        continue;
                    }
                    pauses.after(begin.elapsed())
                }
                Ok(Step::NotDue(next)) => {
                    pauses = Pauses::new(self.shared.back_off);
                    next.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT)
                }
                Ok(Step::Busy) => pauses.after(Duration::ZERO),
                Err(error) if is_final(&error) => return Err(error),
                Err(error) => {
                    let job = &*self.shared.name;
                    warn!(job, %error, "cannot run the job now: trying again");
                    pauses.after(begin.elapsed())
                }
            };
            if shutdown.or(timer::sleep(pause)?).await.is_none() {
                return Ok(());
            }
        }
    }

    /// Runs the work if a slot is due now and falls to this replica. For programs that a timer
    /// starts, and for tests.
    ///
    /// # Cancel safety
    ///
    /// As for [`run`](Self::run).
    ///
    /// # Errors
    ///
    /// [`Lost`](crate::ErrorKind::Lost) if the lock was lost before the work was done, or before an
    /// at-least-once job had settled the slot; otherwise see [`ErrorKind`](crate::ErrorKind).
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::Result;
    /// use pglock_core::recipes::schedule::{Job, Outcome};
    ///
    /// /// For a program that cron starts every minute.
    /// async fn tick(job: &Job) -> Result<()> {
    ///     let outcome = job.run_due(async |turn| {
    ///         println!("runs for {:?}", turn.slot().time());
    ///         Ok::<_, std::io::Error>(())
    ///     });
    ///     match outcome.await? {
    ///         Outcome::Ran { slot, result: Err(error), .. } => eprintln!("{slot:?}: {error}"),
    ///         Outcome::Busy => println!("still running"),
    ///         _ => {}
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub async fn run_due<F, W, T, E>(&self, work: F) -> Result<Outcome<Result<T, E>>>
    where
        F: FnOnce(Turn) -> W,
        W: Future<Output = Result<T, E>>,
    {
        #[cfg(feature = "metrics")]
        super::metrics::register(&self.shared.name);
        let begun = match self.begin().await? {
            Step::Begun(begun) => begun,
            Step::NotDue(next) => return Ok(Outcome::NotDue { next }),
            Step::Busy => return Ok(Outcome::Busy),
        };
        let (_stop, stopping) = watch::channel(false);
        let lease = begun.guard.lease();
        let turn = Turn::new(begun.slot, lease.clone(), stopping);
        #[cfg(feature = "metrics")]
        let running = super::metrics::Running::new(&self.shared.name);
        let result = lease.protect(work(turn)).await;
        #[cfg(feature = "metrics")]
        running.end(match &result {
            Ok(Ok(_)) => "done",
            Ok(Err(_)) => "failed",
            Err(_) => "lost",
        });
        let result = result?;
        if result.is_ok() {
            self.settle(&begun).await?;
        }
        // The slot is settled, so a loss does not matter any more.
        let _ = begun.guard.release().await;
        Ok(Outcome::Ran { slot: begun.slot, result })
    }

    /// Runs one slot. Returns whether its work is done.
    async fn turn<S, F, W, E>(
        &self,
        begun: Begun,
        shutdown: &mut Shutdown<'_, S>,
        work: &mut F,
    ) -> Result<bool>
    where
        S: Future<Output = ()>,
        F: FnMut(Turn) -> W,
        W: Future<Output = Result<(), E>>,
        E: Display,
    {
        let (stop, stopping) = watch::channel(false);
        let lease = begun.guard.lease().clone();
        let turn = Turn::new(begun.slot, lease.clone(), stopping);
        #[cfg(feature = "metrics")]
        let running = super::metrics::Running::new(&self.shared.name);
        // If this future is dropped, the work is dropped before the guard.
        let grace = self.shared.grace;
        let ended = work_under(&lease, || work(turn), shutdown, stop, grace).await?;
        #[cfg(feature = "metrics")]
        running.end(match &ended {
            Ended::Returned(()) => "done",
            Ended::Failed(_) => "failed",
            Ended::Panicked(_) => "panicked",
            Ended::Lost(_) => "lost",
            Ended::Overdue => "stopped",
        });
        let is_done = self.judge(ended);
        if is_done {
            self.settle_before(&begun, shutdown).await?;
        }
        // The lock was already lost, or the manager was closed. In any case, the work has ended.
        let _ = begun.guard.release().await;
        Ok(is_done)
    }

    /// Settles the slot of work that is done, before a shutdown if one comes.
    async fn settle_before<S: Future<Output = ()>>(
        &self,
        begun: &Begun,
        shutdown: &mut Shutdown<'_, S>,
    ) -> Result<()> {
        let mut settling = pin!(self.settle(begun));
        let settled = tokio::select! {
            biased;
            settled = &mut settling => Some(settled),
            () = shutdown.wait() => {
                timer::timeout(self.shared.grace.max(TIME_TO_RECORD), settling).await?
            }
        };
        let job = &*self.shared.name;
        match settled {
            Some(Ok(())) => {}
            Some(Err(error)) if is_final(&error) => return Err(error),
            Some(Err(error)) => warn!(job, %error, "the slot was not recorded: it runs again"),
            None => warn!(job, "the slot was not recorded before the shutdown: it runs again"),
        }
        Ok(())
    }

    /// Whether the work is done. Logs how it ended otherwise.
    fn judge(&self, ended: Ended<()>) -> bool {
        let job = &*self.shared.name;
        match ended {
            Ended::Returned(()) => return true,
            Ended::Failed(error) => warn!(job, error, "the work of the job failed"),
            Ended::Panicked(panic) => error!(job, panic, "the work of the job panicked"),
            Ended::Lost(error) => {
                warn!(job, %error, "the lock of the job was lost: its work was stopped");
            }
            Ended::Overdue => {
                warn!(job, grace = ?self.shared.grace, "the work of the job did not end in time");
            }
        }
        false
    }
}
