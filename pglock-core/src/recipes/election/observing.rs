//! Who leads, asked of the server once or again and again.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;

use super::Election;
use super::candidate::Candidate;
use crate::{LockEntry, Mode, Result, timer};

/// The shortest interval between two questions.
const SHORTEST: Duration = Duration::from_millis(10);

impl Election {
    /// Asks the server who leads: `None` if nobody does.
    ///
    /// The leader shows as the session that holds its lock: by the `application_name` of its
    /// manager, address and backend pid, and whether [it is ours](LockEntry::is_ours). A new leader
    /// already shows while it waits to [take over](Election::take_over_after).
    ///
    /// # Cancel safety
    ///
    /// Dropping this future leaves nothing behind.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`](crate::ErrorKind).
    pub async fn leader(&self) -> Result<Option<LockEntry>> {
        self.candidate.leader().await
    }

    /// Observes who leads: first the present leader, at once, and then each change.
    ///
    /// It asks the server once per interval (10 ms at least), and shows an error if that fails,
    /// once until it succeeds again; then it shows the leader again, whether or not it has changed.
    /// It may miss a leader that leads for less than an interval. It does not end.
    ///
    /// A leader is a session: if the candidate of this session resigns, and leads again before the
    /// server is asked, nothing has changed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pglock_core::{Result, recipes::election::Election};
    /// use std::time::Duration;
    ///
    /// use futures_util::StreamExt;
    ///
    /// /// Reports who leads.
    /// async fn report(election: &Election) {
    ///     let mut leaders = election.observe(Duration::from_secs(2));
    ///     while let Some(leader) = leaders.next().await {
    ///         match leader {
    ///             Ok(Some(leader)) => println!("{} leads", leader.application_name),
    ///             Ok(None) => println!("nobody leads"),
    ///             Err(error) => println!("it is not known who leads: {error}"),
    ///         }
    ///     }
    /// }
    /// ```
    pub fn observe(
        &self,
        interval: Duration,
    ) -> impl Stream<Item = Result<Option<LockEntry>>> + Send + Unpin + use<> {
        let candidate = self.candidate.clone();
        Observer {
            step: Step::Asking(candidate.clone().ask()),
            candidate,
            interval: interval.max(SHORTEST),
            shown: None,
        }
    }
}

impl Candidate {
    pub(super) async fn leader(&self) -> Result<Option<LockEntry>> {
        let entries = self.locks.inspect(self.key.clone()).await?;
        Ok(entries.into_iter().find(|entry| entry.granted && entry.mode == Mode::Write))
    }

    fn ask(self: Arc<Self>) -> Question {
        Box::pin(async move { self.leader().await })
    }
}

type Question = Pin<Box<dyn Future<Output = Result<Option<LockEntry>>> + Send>>;

struct Observer {
    candidate: Arc<Candidate>,
    interval: Duration,
    step: Step,
    shown: Option<Shown>,
}

enum Step {
    Asking(Question),
    Sleeping(timer::Sleep),
}

/// What was shown last.
#[derive(PartialEq)]
enum Shown {
    Leader(Option<LockEntry>),
    Error,
}

impl Stream for Observer {
    type Item = Result<Option<LockEntry>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let leader = match &mut self.step {
                Step::Sleeping(sleep) => {
                    ready!(Pin::new(sleep).poll(cx));
                    self.step = Step::Asking(self.candidate.clone().ask());
                    continue;
                }
                Step::Asking(question) => ready!(question.as_mut().poll(cx)),
            };
            match timer::sleep(self.interval) {
                Ok(sleep) => self.step = Step::Sleeping(sleep),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            let shown = Some(leader.as_ref().map_or(Shown::Error, |it| Shown::Leader(it.clone())));
            if std::mem::replace(&mut self.shown, shown) != self.shown {
                return Poll::Ready(Some(leader));
            }
        }
    }
}
