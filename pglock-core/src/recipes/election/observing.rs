//! Asks the server who leads, once or repeatedly.

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
    /// Asks the server who leads: `None` if no candidate does.
    ///
    /// It identifies the leader by the session that holds the lock: by the `application_name` of
    /// its manager, its address and backend pid, and whether [it is ours](LockEntry::is_ours). A
    /// new leader is already visible while it waits to [take over](Election::take_over_after).
    ///
    /// [`since`](LockEntry::since) is when that session was connected, which may be long before it
    /// began to lead: the server does not record that. The leader itself knows it from its
    /// [`role`](Self::role).
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

    /// Observes who leads: first the current leader, at once, and then each change.
    ///
    /// The stream asks the server once per interval (at least 10 ms). If that fails, it yields one
    /// error, and after the next success the leader again, whether or not it has changed. It may
    /// miss a leader that leads for less than an interval. It does not end.
    ///
    /// A leader is identified by its session. If its candidate resigns and leads again before the
    /// next question, the stream sees no change.
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
    ///             Ok(None) => println!("there is no leader"),
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

/// What the stream yielded last.
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
