//! A command to the machine, from the caller that sends it to the reply.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::Client;
use super::commands::Command;
use crate::engine::machine::event::CallerId;
use crate::error::Result;

/// Sends the command when it is first polled, and completes with the reply. Dropping it earlier
/// abandons the command.
#[must_use = "nothing happens before the first poll"]
pub(super) struct Call<'a, C: Command> {
    client: &'a Arc<Client>,
    command: C,
    /// From the command to the reply.
    caller: Option<CallerId>,
}

impl<'a, C: Command> Call<'a, C> {
    pub(super) fn new(client: &'a Arc<Client>, command: C) -> Self {
        Self { client, command, caller: None }
    }
}

impl<C: Command + Unpin> Future for Call<'_, C> {
    type Output = Result<C::Reply>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { client, command, caller } = &mut *self;
        let shared = &client.shared;
        let reply = match *caller {
            Some(waiting) => shared.poll_reply(waiting, cx.waker()),
            None => {
                // Cloned before the command is sent: a waker is foreign code, and may panic.
                let waker = cx.waker().clone();
                shared.ask(|id| command.event(*caller.insert(id)), waker)
            }
        };
        reply.map(|reply| {
            *caller = None;
            command.read(reply)
        })
    }
}

impl<C: Command> Drop for Call<'_, C> {
    fn drop(&mut self) {
        let Some(caller) = self.caller else {
            return;
        };
        let shared = &self.client.shared;
        let reply = shared.forget(caller, self.command.abandon(caller));
        if let Some(undo) = reply.and_then(|reply| self.command.undo(&reply)) {
            shared.step(undo);
        }
    }
}
