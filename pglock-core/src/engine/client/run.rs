//! Several locks that are tried together, in one statement where that is possible.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::task::coop::consume_budget;

use super::commands::Granted;
use super::{Client, Held};
use crate::engine::machine::event::{CallerId, Event};
use crate::engine::machine::run::{Goal, Member};
use crate::engine::runtime::Reply;
use crate::error::{Error, Result};
use crate::key::LockKey;
use crate::mode::Mode;
use crate::names::Name;

/// A lock to be tried.
pub(crate) struct Wanted {
    pub(crate) key: LockKey,
    pub(crate) name: Option<Arc<Name>>,
    pub(crate) mode: Mode,
}

/// What has become of one of the tries.
pub(crate) enum Tried {
    Taken(Held),
    Busy,
    /// It was left out: because of the one before it, or because it has to be made alone.
    Skipped,
    Failed(Error),
}

/// Begins when it is first polled, and completes with what has become of each try. A caller that
/// leaves before gives up what has been taken.
#[must_use = "nothing happens before the first poll"]
struct Run<'a> {
    client: &'a Arc<Client>,
    wanted: &'a [Wanted],
    goal: Goal,
    has_begun: bool,
    /// One for each that is wanted, from the beginning on.
    tries: Vec<Try>,
}

enum Try {
    Waiting(CallerId),
    Done(Tried),
}

impl Client {
    /// Tries these locks. What becomes of each depends on the one before it.
    pub(crate) async fn run(self: &Arc<Self>, wanted: &[Wanted], goal: Goal) -> Result<Vec<Tried>> {
        self.ensure_manager()?;
        consume_budget().await;
        let waits: Vec<_> = wanted.iter().map(|lock| self.meters.start_wait(lock.mode)).collect();
        let tries = Run { client: self, wanted, goal, has_begun: false, tries: Vec::new() }.await;
        let measured = tries.into_iter().zip(waits).map(|(tried, wait)| match tried {
            Tried::Taken(held) => {
                let timer = self.meters.end_wait(wait, &Ok(Some(())));
                Tried::Taken(held.timed(timer))
            }
            Tried::Failed(error) => {
                self.meters.count_failure(&error);
                Tried::Failed(error)
            }
            Tried::Busy | Tried::Skipped => tried,
        });
        Ok(measured.collect())
    }
}

impl Run<'_> {
    fn begin(&mut self) {
        self.has_begun = true;
        let (wanted, goal) = (self.wanted, self.goal);
        let callers = self.client.shared.ask_together(wanted.len(), |callers| {
            let member = |(caller, wanted): (&CallerId, &Wanted)| Member {
                caller: *caller,
                key: wanted.key,
                mode: wanted.mode,
            };
            Event::AcquireRun { members: callers.iter().zip(wanted).map(member).collect(), goal }
        });
        self.tries = callers.into_iter().map(Try::Waiting).collect();
    }

    fn read(client: &Arc<Client>, wanted: &Wanted, reply: Reply) -> Tried {
        match reply {
            Reply::Granted { grant, liveness } => {
                let granted = Granted { grant, liveness };
                let held = client.hold(granted, wanted.key, wanted.name.as_ref(), wanted.mode);
                // The session may have ended before the caller could look: no caller has believed
                // in that grant.
                if held.is_held() { Tried::Taken(held) } else { Tried::Skipped }
            }
            Reply::Busy => Tried::Busy,
            Reply::Skipped => Tried::Skipped,
            Reply::Failed(error) => Tried::Failed(error.about(wanted.key, wanted.name.as_ref())),
            _ => Tried::Failed(Error::mismatched_reply()),
        }
    }
}

impl Future for Run<'_> {
    type Output = Vec<Tried>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Vec<Tried>> {
        if !self.has_begun {
            self.begin();
        }
        let Self { client, wanted, tries, .. } = &mut *self;
        let mut is_done = true;
        for (tried, wanted) in tries.iter_mut().zip(*wanted) {
            if let Try::Waiting(caller) = tried {
                match client.shared.poll_reply(*caller, cx.waker()) {
                    Poll::Ready(reply) => *tried = Try::Done(Self::read(client, wanted, reply)),
                    Poll::Pending => is_done = false,
                }
            }
        }
        if !is_done {
            return Poll::Pending;
        }
        let done = std::mem::take(tries).into_iter().filter_map(|tried| match tried {
            Try::Done(tried) => Some(tried),
            Try::Waiting(_) => None,
        });
        Poll::Ready(done.collect())
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        let shared = &self.client.shared;
        for (tried, wanted) in self.tries.iter().zip(self.wanted) {
            let Try::Waiting(caller) = *tried else {
                continue;
            };
            let reply = shared.forget(caller, Event::Abandon { caller, key: wanted.key });
            if let Some(Reply::Granted { grant, .. }) = reply {
                shared.step(Event::Release { key: wanted.key, grant, releaser: None });
            }
        }
    }
}
