//! Where callers find their answers: behind a mutex of its own, so that nobody who looks for one waits for the machine.

use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use slab::Slab;

use super::Reply;
use crate::engine::event::WaiterId;
use crate::engine::sync::{Mutex, MutexGuard};

#[derive(Default)]
pub(super) struct Slots(Mutex<Slab<Slot>>);

/// One caller's place. The machine answers each once.
enum Slot {
    /// Without a waker while the caller itself steps the machine.
    Waiting(Option<Waker>),
    Answered(Reply),
}

/// Several answers, which callers find once this is dropped: who finds one finds what comes with it.
pub(super) struct Answers<'a> {
    slots: &'a Slots,
    /// From the first one on.
    locked: Option<MutexGuard<'a, Slab<Slot>>>,
}

impl Slots {
    pub(super) fn insert(&self) -> WaiterId {
        WaiterId(self.lock().insert(Slot::Waiting(None)))
    }

    /// Takes the answer if it is there, or else says whom to wake.
    pub(super) fn take_or_wait(&self, waiter: WaiterId, waker: &Waker) -> Result<Reply, WaiterId> {
        let mut slots = self.lock();
        let reply = take(&mut slots, waiter);
        if reply.is_none()
            && let Some(slot) = slots.get_mut(waiter.0)
        {
            *slot = Slot::Waiting(Some(waker.clone()));
        }
        reply.ok_or(waiter)
    }

    /// Takes the answer if it is there; the place is free then.
    pub(super) fn poll(&self, waiter: WaiterId, cx: &Context<'_>) -> Poll<Reply> {
        let mut slots = self.lock();
        let Some(Slot::Waiting(waker)) = slots.get_mut(waiter.0) else {
            return take(&mut slots, waiter).map_or(Poll::Pending, Poll::Ready);
        };
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            let former = waker.replace(cx.waker().clone());
            // Foreign code: it must find the mutex free.
            drop(slots);
            drop(former);
        }
        Poll::Pending
    }

    /// The answer, if there is one; its place is free then.
    pub(super) fn take(&self, waiter: WaiterId) -> Option<Reply> {
        take(&mut self.lock(), waiter)
    }

    pub(super) fn is_waiting(&self, waiter: WaiterId) -> bool {
        matches!(self.lock().get(waiter.0), Some(Slot::Waiting(_)))
    }

    /// Gives up the place; its waker is for the caller to drop, once no mutex is held.
    pub(super) fn remove(&self, waiter: WaiterId) -> Option<Waker> {
        match self.lock().try_remove(waiter.0)? {
            Slot::Waiting(waker) => waker,
            Slot::Answered(_) => None,
        }
    }

    pub(super) fn answers(&self) -> Answers<'_> {
        Answers { slots: self, locked: None }
    }

    fn lock(&self) -> MutexGuard<'_, Slab<Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answers<'_> {
    /// Whom to wake.
    pub(super) fn give(&mut self, waiter: WaiterId, reply: Reply) -> Option<Waker> {
        let slots = self.locked.get_or_insert_with(|| self.slots.lock());
        let slot = slots.get_mut(waiter.0)?;
        match std::mem::replace(slot, Slot::Answered(reply)) {
            Slot::Waiting(waker) => waker,
            Slot::Answered(_) => None,
        }
    }
}

fn take(slots: &mut Slab<Slot>, waiter: WaiterId) -> Option<Reply> {
    let Some(Slot::Answered(_)) = slots.get(waiter.0) else {
        return None;
    };
    match slots.remove(waiter.0) {
        Slot::Answered(reply) => Some(reply),
        Slot::Waiting(_) => None,
    }
}
