//! Runs work while a candidate leads, term by term.

use std::fmt::Display;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::pin::pin;
use std::time::Instant;

use tokio::sync::watch;
use tracing::{error, warn};

use super::{Election, Leadership, Term};
use crate::owner::Scope;
use crate::recipes::pauses::{Pauses, is_final};
use crate::recipes::shutdown::Shutdown;
use crate::recipes::working::{Ended, work_under};
use crate::{Result, timer};

impl Election {
    /// Campaigns, works while it leads, and starts over when a term ends, until the work is done or
    /// `shutdown` completes.
    ///
    /// It calls `work` for each term. The result of the work decides how `run` continues:
    ///
    /// | the work returns | `run` |
    /// |---|---|
    /// | `Ok(ControlFlow::Break(value))` | resigns, and returns `Some(value)` |
    /// | `Ok(ControlFlow::Continue(()))` | resigns, pauses, and campaigns again |
    /// | an error, or it panics | logs that, resigns, pauses, and campaigns again |
    /// | nothing, because the leadership was lost | drops the work, pauses, and campaigns again |
    ///
    /// When `shutdown` completes, `run` stops the work, resigns, and returns `None`, or the value
    /// of work that breaks in the [grace period](Self::grace).
    ///
    /// - **The leadership ends after the work.** `run` resigns only when the work has returned or
    ///   was dropped, even on shutdown, after a panic, and if the future of `run` is dropped.
    /// - **A loss stops the work.** `run` compares the clock with the lease before each poll of the
    ///   work. On a loss, it drops the work at its next `await`, without a grace period, because
    ///   another candidate may lead already. The module says
    ///   [how sure that is](crate::recipes::election#one-leader-at-a-time).
    /// - **Short terms do not spin.** The [pauses](Self::back_off) grow while terms are shorter
    ///   than the last pause.
    ///
    /// Anything that the work has started outside itself, such as a spawned task, continues without
    /// it. Give it the [lease](Term::lease) of the term.
    ///
    /// Errors of the lock manager do not end `run`, except those that only a change of the program
    /// can fix: it logs them, pauses, and tries again. To notice a wrong password at the start,
    /// call [`Locks::check`](crate::Locks::check) first.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future drops the work, and then the leadership.
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
    /// ```
    /// use std::convert::Infallible;
    /// use std::ops::ControlFlow;
    /// use std::time::Duration;
    ///
    /// use pglock_core::recipes::election::Term;
    /// use pglock_core::{Locks, Result};
    /// use tokio::time::interval;
    ///
    /// async fn serve(locks: &Locks, shutdown: impl Future<Output = ()>) -> Result<()> {
    ///     let election = locks.election("scheduler").grace(Duration::from_secs(5));
    ///     election.run(shutdown, schedule).await?;
    ///     Ok(())
    /// }
    ///
    /// async fn schedule(term: Term) -> Result<ControlFlow<()>, Infallible> {
    ///     let mut rhythm = interval(Duration::from_secs(60));
    ///     loop {
    ///         tokio::select! {
    ///             _ = rhythm.tick() => { /* … */ }
    ///             () = term.stopping() => return Ok(ControlFlow::Continue(())),
    ///         }
    ///     }
    /// }
    /// ```
    pub async fn run<F, W, T, E>(
        &self,
        shutdown: impl Future<Output = ()>,
        work: F,
    ) -> Result<Option<T>>
    where
        F: FnMut(Term) -> W,
        W: Future<Output = Result<ControlFlow<T>, E>>,
        E: Display,
    {
        let scope = Scope::of_run();
        let mut terms = pin!(self.run_terms(shutdown, work));
        poll_fn(|cx| scope.poll(terms.as_mut(), cx)).await
    }

    async fn run_terms<F, W, T, E>(
        &self,
        shutdown: impl Future<Output = ()>,
        mut work: F,
    ) -> Result<Option<T>>
    where
        F: FnMut(Term) -> W,
        W: Future<Output = Result<ControlFlow<T>, E>>,
        E: Display,
    {
        let shutdown = pin!(shutdown);
        let mut shutdown = Shutdown::new(shutdown);
        let mut pauses = Pauses::new(self.options.back_off);
        loop {
            let mut begin = Instant::now();
            match shutdown.or(self.campaign()).await {
                None => return Ok(None),
                Some(Ok(leadership)) => {
                    begin = Instant::now();
                    let term = self.lead(leadership, &mut shutdown, &mut work).await;
                    if let Some(value) = term? {
                        return Ok(Some(value));
                    }
                }
                Some(Err(error)) if is_final(&error) => return Err(error),
                Some(Err(error)) => {
                    warn!(election = &*self.candidate.name, %error, "cannot campaign now: trying again");
                }
            }
            let pause = timer::sleep(pauses.after(begin.elapsed()))?;
            if shutdown.or(pause).await.is_none() {
                return Ok(None);
            }
        }
    }

    /// Runs one term. Returns the value of work that breaks.
    async fn lead<S, F, W, T, E>(
        &self,
        leadership: Leadership,
        shutdown: &mut Shutdown<'_, S>,
        work: &mut F,
    ) -> Result<Option<T>>
    where
        S: Future<Output = ()>,
        F: FnMut(Term) -> W,
        W: Future<Output = Result<ControlFlow<T>, E>>,
        E: Display,
    {
        let (stop, stopping) = watch::channel(false);
        let lease = leadership.lease().clone();
        let term = Term::new(&self.candidate, &leadership, stopping);
        // If this future is dropped, the work is dropped before the leadership.
        let grace = self.options.grace;
        let ended = work_under(&lease, || work(term), shutdown, stop, grace).await?;
        let value = self.judge(ended);
        // The lock was already lost, or the manager was closed. In any case, the work has ended.
        let _ = leadership.resign().await;
        Ok(value)
    }

    /// Interprets the end of the work, and logs failures.
    fn judge<T>(&self, ended: Ended<ControlFlow<T>>) -> Option<T> {
        let election = &*self.candidate.name;
        match ended {
            Ended::Returned(ControlFlow::Break(value)) => return Some(value),
            Ended::Returned(ControlFlow::Continue(())) => {}
            Ended::Failed(error) => warn!(election, error, "the leader's work failed"),
            Ended::Panicked(panic) => error!(election, panic, "the leader's work panicked"),
            Ended::Lost(error) => warn!(election, %error, "leadership lost: its work was stopped"),
            Ended::Overdue => {
                warn!(election, grace = ?self.options.grace, "the leader's work did not end in time");
            }
        }
        None
    }
}
