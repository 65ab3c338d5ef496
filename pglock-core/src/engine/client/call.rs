//! A command to the machine, from the caller that gives it to the reply.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::Client;
use super::commands::Command;
use crate::engine::machine::event::WaiterId;
use crate::error::Result;

/// Gives the command when it is first polled, and awaits the reply. A caller that leaves before
/// abandons the command.
pub(super) async fn call<C: Command>(client: &Arc<Client>, command: C) -> Result<C::Reply> {
    let mut call = Call { client, command, caller: None };
    poll_fn(|cx| call.poll(cx)).await
}

struct Call<'a, C: Command> {
    client: &'a Arc<Client>,
    command: C,
    /// From the command to the reply.
    caller: Option<WaiterId>,
}

impl<C: Command> Call<'_, C> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<C::Reply>> {
        let shared = &self.client.shared;
        let polled = match self.caller {
            Some(caller) => shared.poll_reply(caller, cx.waker()),
            None => {
                // Cloned before the command is given: a waker is foreign code, and may panic.
                let waker = cx.waker().clone();
                let (caller, polled) = shared.ask(|caller| self.command.event(caller), waker);
                self.caller = Some(caller);
                polled
            }
        };
        polled.map(|reply| {
            self.caller = None;
            self.command.read(reply)
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
