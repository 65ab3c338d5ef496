//! What callers ask the machine, and how they await its answer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::Client;
use crate::engine::machine::event::{Event, WaiterId};
use crate::engine::runtime::Reply;
use crate::key::LockKey;

/// Asks the machine, and awaits its answer.
pub(super) struct Asked<'a, F> {
    client: &'a Arc<Client>,
    /// What is wanted, or `None` for a look.
    key: Option<LockKey>,
    progress: Progress<F>,
}

enum Progress<F> {
    /// Asked when it is polled, so that the machine knows at once whom to wake.
    Unasked(F),
    Asked(WaiterId),
    Answered,
}

impl<'a, F: FnOnce(WaiterId) -> Event> Asked<'a, F> {
    pub(super) fn new(client: &'a Arc<Client>, key: Option<LockKey>, event: F) -> Self {
        Self { client, key, progress: Progress::Unasked(event) }
    }
}

impl<F: FnOnce(WaiterId) -> Event + Unpin> Future for Asked<'_, F> {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        let shared = &self.client.shared;
        // Cloned before anything is asked: it is foreign code, and may panic.
        let waker = cx.waker().clone();
        let reply = match std::mem::replace(&mut self.progress, Progress::Answered) {
            Progress::Unasked(event) => shared.ask(event, waker),
            Progress::Asked(waiter) => {
                let reply = shared.poll_reply(waiter, waker);
                if reply.is_err() {
                    self.progress = Progress::Asked(waiter);
                }
                return reply.map_or(Poll::Pending, Poll::Ready);
            }
            Progress::Answered => return Poll::Pending,
        };
        match reply {
            Ok(reply) => Poll::Ready(reply),
            Err(waiter) => {
                self.progress = Progress::Asked(waiter);
                Poll::Pending
            }
        }
    }
}

impl<F> Drop for Asked<'_, F> {
    fn drop(&mut self) {
        let Progress::Asked(waiter) = self.progress else {
            return;
        };
        let shared = &self.client.shared;
        let Some(key) = self.key else {
            shared.forget(waiter, Event::LookAway { waiter });
            return;
        };
        if let Some(Reply::Granted { hold, .. }) =
            shared.forget(waiter, Event::Abandon { waiter, key })
        {
            shared.step(Event::Release { key, hold, confirm: None });
        }
    }
}
