//! Where callers find their answers: behind a mutex of its own, so that nobody who looks for one
//! waits for the machine.

use std::sync::PoisonError;
use std::task::Waker;

use slab::Slab;

use super::Reply;
use crate::engine::machine::event::WaiterId;
use crate::engine::runtime::sync::{Mutex, MutexGuard};
use crate::engine::runtime::thread::guarded;

#[derive(Default)]
pub(super) struct Slots(Mutex<Slab<Slot>>);

/// One caller's place. The machine answers each once.
pub(super) enum Slot {
    /// Without a waker while the caller itself steps the machine.
    Waiting(Option<Waker>),
    Answered(Reply),
}

/// Several answers, which callers find once this is dropped: who finds one finds what comes with
/// it.
pub(super) struct Answers<'a> {
    slots: &'a Slots,
    /// From the first one on.
    locked: Option<MutexGuard<'a, Slab<Slot>>>,
}

impl Slot {
    /// A waker that is not needed any more is foreign code, as in [`Slots::take_or_wait`].
    pub(super) fn answer(self) -> Option<Reply> {
        match self {
            Self::Answered(reply) => Some(reply),
            Self::Waiting(waker) => {
                guarded(|| drop(waker));
                None
            }
        }
    }
}

impl Slots {
    pub(super) fn insert(&self) -> WaiterId {
        WaiterId(self.lock().insert(Slot::Waiting(None)))
    }

    /// Takes the answer if it is there, and the place is free then, or else says whom to wake.
    ///
    /// A waker is foreign code: it is neither cloned nor dropped under the mutex.
    pub(super) fn take_or_wait(&self, waiter: WaiterId, waker: Waker) -> Result<Reply, WaiterId> {
        let mut slots = self.lock();
        match slots.get_mut(waiter.0) {
            Some(Slot::Waiting(former)) => {
                let former = former.replace(waker);
                drop(slots);
                guarded(|| drop(former));
                Err(waiter)
            }
            Some(Slot::Answered(_)) => {
                let reply = slots.remove(waiter.0).answer().ok_or(waiter);
                drop(slots);
                guarded(|| drop(waker));
                reply
            }
            None => Err(waiter),
        }
    }

    pub(super) fn is_waiting(&self, waiter: WaiterId) -> bool {
        matches!(self.lock().get(waiter.0), Some(Slot::Waiting(_)))
    }

    /// Gives up the place; what was there is for the caller to drop, once no mutex is held.
    pub(super) fn remove(&self, waiter: WaiterId) -> Option<Slot> {
        self.lock().try_remove(waiter.0)
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
