//! The callers that await replies. They have their own mutex, so that a caller that polls does not
//! wait for the machine.

use std::sync::{Arc, PoisonError};
use std::task::{Poll, Waker};

use slab::Slab;

use super::liveness::Liveness;
use super::sync::{Mutex, MutexGuard};
use super::thread::catch_panic;
use crate::engine::machine::event::{CallerId, GrantId};
use crate::error::Error;
use crate::looking::LockEntry;
use crate::token::FencingToken;

/// A reply to any command. Each command reads the replies that it can get.
#[derive(Debug)]
pub(crate) enum Reply {
    Granted {
        grant: GrantId,
        liveness: Arc<Liveness>,
    },
    Busy,
    /// Of a try in a run: it was not made.
    Skipped,
    Upgraded,
    Released,
    Inspected(Vec<LockEntry>),
    Checked,
    Seen(bool),
    Token(FencingToken),
    /// In a box, so that the table of callers is small.
    Failed(Box<Error>),
}

#[derive(Default)]
pub(super) struct Callers(Mutex<Slab<Caller>>);

/// The machine replies to each caller once.
pub(super) enum Caller {
    /// The waker is absent while the caller itself steps the machine.
    Waiting(Option<Waker>),
    Replied(Reply),
}

/// Several replies, which become visible together when this is dropped: a caller that finds one
/// also finds those that came with it.
pub(super) struct Replies<'a> {
    callers: &'a Callers,
    /// From the first reply on.
    locked: Option<MutexGuard<'a, Slab<Caller>>>,
}

impl Caller {
    /// Call this while holding no mutex: the waker that it drops is foreign code.
    pub(super) fn into_reply(self) -> Option<Reply> {
        match self {
            Self::Replied(reply) => Some(reply),
            Self::Waiting(waker) => {
                catch_panic(|| drop(waker));
                None
            }
        }
    }
}

/// Wakers are foreign code: none is cloned or dropped under the mutex.
impl Callers {
    pub(super) fn insert(&self) -> CallerId {
        CallerId::at(self.lock().insert(Caller::Waiting(None)))
    }

    /// Takes the reply, which removes the caller, or keeps a waker for it.
    pub(super) fn poll(&self, id: CallerId, waker: &Waker) -> Poll<Reply> {
        let mut callers = self.lock();
        match callers.get(id.place()) {
            Some(Caller::Replied(_)) => take(&mut callers, id),
            Some(Caller::Waiting(Some(known))) if known.will_wake(waker) => Poll::Pending,
            _ => {
                drop(callers);
                self.take_or_wait(id, waker.clone())
            }
        }
    }

    /// The same as [`poll`](Self::poll), with a waker that was cloned before.
    pub(super) fn take_or_wait(&self, id: CallerId, waker: Waker) -> Poll<Reply> {
        let mut callers = self.lock();
        let (polled, unused) = match callers.get_mut(id.place()) {
            Some(Caller::Waiting(former)) => (Poll::Pending, former.replace(waker)),
            _ => (take(&mut callers, id), Some(waker)),
        };
        drop(callers);
        catch_panic(|| drop(unused));
        polled
    }

    pub(super) fn is_waiting(&self, id: CallerId) -> bool {
        matches!(self.lock().get(id.place()), Some(Caller::Waiting(_)))
    }

    /// The calling function drops the caller once it holds no mutex.
    pub(super) fn remove(&self, id: CallerId) -> Option<Caller> {
        self.lock().try_remove(id.place())
    }

    pub(super) fn replies(&self) -> Replies<'_> {
        Replies { callers: self, locked: None }
    }

    fn lock(&self) -> MutexGuard<'_, Slab<Caller>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a caller that has its reply.
fn take(callers: &mut Slab<Caller>, id: CallerId) -> Poll<Reply> {
    match callers.try_remove(id.place()) {
        Some(Caller::Replied(reply)) => Poll::Ready(reply),
        Some(Caller::Waiting(_)) | None => Poll::Pending,
    }
}

impl Replies<'_> {
    /// Returns the waker to call.
    pub(super) fn give(&mut self, id: CallerId, reply: Reply) -> Option<Waker> {
        let callers = self.locked.get_or_insert_with(|| self.callers.lock());
        let caller = callers.get_mut(id.place())?;
        match std::mem::replace(caller, Caller::Replied(reply)) {
            Caller::Waiting(waker) => waker,
            Caller::Replied(_) => None,
        }
    }
}
