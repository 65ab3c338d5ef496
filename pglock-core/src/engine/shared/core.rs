//! The machine, where its answers are put, and the carrying out of its effects.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;

use slab::Slab;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::Reply;
use crate::engine::event::{Effect, Effects, Event, Moment, Outcome, SessionId, WaiterId};
use crate::engine::life::{Life, OnLoss};
use crate::engine::limits::Limits;
use crate::engine::state::State;
use crate::error::{Error, ErrorKind};

pub(super) struct Core {
    pub(super) state: State,
    fx: Effects,
    pub(super) slots: Slab<Slot>,
    pub(super) sessions: BTreeMap<SessionId, Running>,
    pub(super) to_open: Vec<SessionId>,
    pub(super) armed: Option<Moment>,
}

/// One caller's place to find its answer.
pub(super) enum Slot {
    Waiting(Option<Waker>),
    Answered(Reply),
}

pub(super) struct Running {
    pub(super) life: Arc<Life>,
    pub(super) kick: Arc<Notify>,
    pub(super) abort: Option<AbortHandle>,
}

impl Core {
    pub(super) fn new(limits: Limits, seed: u64) -> Self {
        Self {
            state: State::new(limits, seed),
            fx: Effects::default(),
            slots: Slab::new(),
            sessions: BTreeMap::new(),
            to_open: Vec::new(),
            armed: None,
        }
    }

    pub(super) fn step(&mut self, event: Event, now: Moment, wakers: &mut Wakers) {
        self.act(wakers, |state, fx| state.step(event, now, fx));
    }

    pub(super) fn act<T>(
        &mut self,
        wakers: &mut Wakers,
        act: impl FnOnce(&mut State, &mut Effects) -> T,
    ) -> T {
        let mut fx = std::mem::take(&mut self.fx);
        let result = act(&mut self.state, &mut fx);
        for effect in fx.0.drain(..) {
            self.carry_out(effect, wakers);
        }
        self.fx = fx;
        result
    }

    fn carry_out(&mut self, effect: Effect, wakers: &mut Wakers) {
        match effect {
            Effect::Resolve { waiter, outcome } => {
                let reply = self.reply(outcome);
                if let Some(slot) = self.slots.get_mut(waiter.0)
                    && let Slot::Waiting(Some(waker)) =
                        std::mem::replace(slot, Slot::Answered(reply))
                {
                    wakers.push(waker);
                }
            }
            Effect::Open(id) => self.to_open.push(id),
            Effect::Kick(id) => {
                if let Some(running) = self.sessions.get(&id) {
                    running.kick.notify_one();
                }
            }
            Effect::Confirmed { session, until } => {
                if let Some(running) = self.sessions.get(&session) {
                    running.life.confirm(until);
                }
            }
            Effect::Lost { session, held, error } => {
                if let Some(running) = self.sessions.get(&session) {
                    if held > 0 && error.kind() != ErrorKind::Closed {
                        let (pid, error) = (running.life.pid(), error.clone());
                        let say = move || tracing::warn!(pid, held, %error, "locks lost: their session has ended");
                        wakers.told.push(Box::new(say));
                    }
                    wakers.told.append(&mut running.life.end(error));
                }
            }
            Effect::Abort(id) => {
                if let Some(abort) = self.sessions.get_mut(&id).and_then(|r| r.abort.take()) {
                    abort.abort();
                }
            }
        }
    }

    /// The answer, if there is one; its place is free then.
    pub(super) fn take_reply(&mut self, waiter: WaiterId) -> Option<Reply> {
        if let Some(Slot::Answered(_)) = self.slots.get(waiter.0)
            && let Slot::Answered(reply) = self.slots.remove(waiter.0)
        {
            return Some(reply);
        }
        None
    }

    fn reply(&self, outcome: Outcome) -> Reply {
        match outcome {
            Outcome::Granted { hold, session } => match self.sessions.get(&session) {
                Some(running) => Reply::Granted { hold, life: running.life.clone() },
                None => Reply::Failed(Error::lost()),
            },
            Outcome::Busy => Reply::Busy,
            Outcome::Released => Reply::Released,
            Outcome::Seen(locks) => Reply::Seen(locks),
            Outcome::Failed(error) => Reply::Failed(error),
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.state.is_finished() && self.sessions.is_empty()
    }
}

/// Tasks to wake once the mutex is free again.
#[derive(Default)]
pub(super) struct Wakers {
    first: Option<Waker>,
    others: Vec<Waker>,
    /// What is to be said, and what guards wanted to be done, when locks are lost.
    pub(super) told: Vec<OnLoss>,
}

impl Wakers {
    fn push(&mut self, waker: Waker) {
        match self.first {
            None => self.first = Some(waker),
            Some(_) => self.others.push(waker),
        }
    }

    pub(super) fn wake(self) {
        if let Some(first) = self.first {
            first.wake();
        }
        self.others.into_iter().for_each(Waker::wake);
        self.told.into_iter().for_each(|on_loss| on_loss());
    }
}
