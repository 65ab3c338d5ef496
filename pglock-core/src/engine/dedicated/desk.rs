//! What a dedicated session holds and has to do: pure state, without I/O and without a clock.

mod answers;

use std::collections::{HashMap, VecDeque};
use std::mem;

use crate::driver::Holding;
use crate::engine::machine::event::Moment;
use crate::error::Error;
use crate::key::LockKey;

/// A caller, as the desk knows it.
pub(super) trait Caller {
    /// Whether its future was dropped.
    fn is_gone(&self) -> bool;
}

/// What a caller gets.
#[derive(Debug)]
pub(super) enum Verdict {
    /// One more guard has the lock.
    Granted(Holding),
    Busy,
    Released,
    Failed(Error),
}

/// How long a caller waits for a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Patience {
    Try,
    Until(Moment),
    Wait,
}

/// What the session does next. The task reports the result of a job before it gets the next one.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Job {
    /// Find out what the session holds.
    Holdings,
    Unlock(Vec<Holding>),
    Try(Holding),
    /// Wait in the server's queue, up to this time if there is one.
    Wait(Holding, Option<Moment>),
    /// Find out who holds the key, for the error of a caller whose time is over.
    Holders(LockKey),
    Idle,
    Close,
}

struct Ask<C> {
    lock: Holding,
    patience: Patience,
    was_tried: bool,
    /// Why the wait has failed, unless the session turns out to hold the lock.
    failure: Option<Error>,
    caller: C,
}

struct Unlock<C> {
    lock: Holding,
    /// `None`: the guard was dropped.
    caller: Option<C>,
}

/// See the [states](super).
pub(super) struct Desk<C> {
    /// How many guards have each lock. The server grants each of them to the session once.
    held: HashMap<Holding, usize>,
    unlocks: VecDeque<Unlock<C>>,
    /// On their way to the server, which may or may not have done them.
    unlocking: Vec<Unlock<C>>,
    /// Releases of guards whose lock other guards still have. The next `Holdings` confirms them.
    confirms: Vec<Unlock<C>>,
    confirming: Vec<Unlock<C>>,
    /// They come before waits, because they do not block the session.
    tries: VecDeque<Ask<C>>,
    waits: VecDeque<Ask<C>>,
    /// The ask that is at the server: one at a time.
    asking: Option<Ask<C>>,
    /// Whether the session may hold other locks than the desk knows.
    has_doubt: bool,
    /// Whether the handle was dropped, so that only guards use the session.
    was_left: bool,
    ended: Option<Error>,
    /// To be sent when no mutex is held.
    pub(super) verdicts: Vec<(C, Verdict)>,
    /// Callers that are gone, to be dropped when no mutex is held.
    pub(super) gone: Vec<C>,
}

impl<C: Caller> Desk<C> {
    pub(super) fn new() -> Self {
        Self {
            held: HashMap::new(),
            unlocks: VecDeque::new(),
            unlocking: Vec::new(),
            confirms: Vec::new(),
            confirming: Vec::new(),
            tries: VecDeque::new(),
            waits: VecDeque::new(),
            asking: None,
            has_doubt: false,
            was_left: false,
            ended: None,
            verdicts: Vec::new(),
            gone: Vec::new(),
        }
    }

    pub(super) fn locks(&self) -> usize {
        self.held.len()
    }

    pub(super) fn waits(&self) -> usize {
        self.waits.len() + usize::from(self.asking.is_some())
    }

    pub(super) fn holds(&self, lock: Holding) -> bool {
        self.held.contains_key(&lock)
    }

    /// Whether the session is to end, or has ended.
    pub(super) fn is_over(&self) -> bool {
        let releases = [&self.unlocking, &self.confirms, &self.confirming];
        let is_used = !self.was_left
            || !self.held.is_empty()
            || !self.unlocks.is_empty()
            || releases.into_iter().any(|releases| !releases.is_empty());
        self.ended.is_some() || !is_used
    }

    pub(super) fn refuse(&mut self, caller: C, error: Error) {
        self.verdicts.push((caller, Verdict::Failed(error)));
    }

    /// Asks for a lock for one more guard.
    pub(super) fn acquire(&mut self, lock: Holding, patience: Patience, now: Moment, caller: C) {
        if let Some(error) = &self.ended {
            let error = error.clone();
            return self.refuse(caller, error);
        }
        let ask = Ask { lock, patience, was_tried: false, failure: None, caller };
        if self.holds(lock) {
            self.grant(ask);
        } else if patience == Patience::Try || ask.is_late(now) {
            self.tries.push_back(ask);
        } else {
            self.waits.push_back(ask);
        }
    }

    /// A guard was released or dropped. The caller, if there is one, waits for the confirmation.
    pub(super) fn release(&mut self, lock: Holding, caller: Option<C>) {
        let Some(guards) = self.held.get_mut(&lock) else {
            // All guards have lost it.
            let error = self.ended.clone().unwrap_or_else(Error::lost);
            let verdict = |caller| (caller, Verdict::Failed(error));
            return self.verdicts.extend(caller.map(verdict));
        };
        *guards -= 1;
        if *guards > 0 {
            self.confirms.extend(caller.map(|caller| Unlock { lock, caller: Some(caller) }));
        } else {
            self.held.remove(&lock);
            self.unlocks.push_back(Unlock { lock, caller });
        }
    }

    /// The handle was dropped.
    pub(super) fn leave(&mut self) {
        self.was_left = true;
    }

    /// The session ends, for this reason; the first one counts. Returns how many locks are lost.
    pub(super) fn end(&mut self, error: Error) -> usize {
        if self.ended.is_some() {
            return 0;
        }
        self.ended = Some(error.clone());
        let asks = mem::take(&mut self.tries).into_iter().chain(mem::take(&mut self.waits));
        let callers = asks.chain(self.asking.take()).map(|ask| ask.caller);
        let unlocks = mem::take(&mut self.unlocks).into_iter().chain(self.unlocking.drain(..));
        let unlocks = unlocks.chain(self.confirms.drain(..)).chain(self.confirming.drain(..));
        let callers = callers.chain(unlocks.filter_map(|unlock| unlock.caller));
        self.verdicts.extend(callers.map(|caller| (caller, Verdict::Failed(error.clone()))));
        mem::take(&mut self.held).len()
    }

    pub(super) fn next_job(&mut self, now: Moment) -> Job {
        self.sweep(now);
        if self.is_over() {
            return Job::Close;
        }
        if self.has_doubt || !self.confirms.is_empty() {
            return self.heartbeat();
        }
        if !self.unlocks.is_empty() {
            self.unlocking.extend(self.unlocks.drain(..));
            return Job::Unlock(self.unlocking.iter().map(|unlock| unlock.lock).collect());
        }
        let ask = self.tries.pop_front().or_else(|| self.waits.pop_front());
        let Some(ask) = ask else {
            return Job::Idle;
        };
        let job = match ask.patience {
            _ if !ask.was_tried => Job::Try(ask.lock),
            _ if ask.is_late(now) => Job::Holders(ask.lock.key),
            Patience::Until(end) => Job::Wait(ask.lock, Some(end)),
            Patience::Try | Patience::Wait => Job::Wait(ask.lock, None),
        };
        self.asking = Some(ask);
        job
    }

    /// The job that renews the lease. It can come before any other.
    pub(super) fn heartbeat(&mut self) -> Job {
        if self.is_over() {
            return Job::Close;
        }
        self.confirming.append(&mut self.confirms);
        Job::Holdings
    }

    /// Whether the wait at the server has to end, because the session has something else to do.
    pub(super) fn interrupts(&mut self, now: Moment) -> bool {
        self.sweep(now);
        let is_abandoned = self.asking.as_ref().is_none_or(|ask| ask.caller.is_gone());
        is_abandoned
            || self.is_over()
            || !self.unlocks.is_empty()
            || !self.confirms.is_empty()
            || !self.tries.is_empty()
    }

    /// When the time of the next caller that queues behind the wait at the server is over.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        let deadline = |ask: &Ask<C>| match ask.patience {
            Patience::Until(end) => Some(end),
            Patience::Try | Patience::Wait => None,
        };
        self.waits.iter().filter_map(deadline).min()
    }

    /// Removes the asks that need no server: those whose caller is gone, whose lock a guard has by
    /// now, or whose time is over.
    fn sweep(&mut self, now: Moment) {
        let tries = mem::take(&mut self.tries);
        self.tries = tries.into_iter().filter_map(|ask| self.keep(ask, None)).collect();
        // The first wait is tried at least once, unless another ask is at the server.
        let mut is_next = self.asking.is_none();
        for ask in mem::take(&mut self.waits) {
            let now = (!is_next).then_some(now);
            if let Some(ask) = self.keep(ask, now) {
                self.waits.push_back(ask);
                is_next = false;
            }
        }
    }

    /// `None` if the ask is done. With `now`, an ask that was never tried fails if its time is
    /// over.
    fn keep(&mut self, ask: Ask<C>, now: Option<Moment>) -> Option<Ask<C>> {
        if ask.caller.is_gone() {
            self.gone.push(ask.caller);
        } else if self.holds(ask.lock) {
            self.grant(ask);
        } else if !ask.was_tried && now.is_some_and(|now| ask.is_late(now)) {
            self.refuse(ask.caller, Error::timeout(Vec::new()));
        } else {
            return Some(ask);
        }
        None
    }
}

impl<C> Ask<C> {
    fn is_late(&self, now: Moment) -> bool {
        matches!(self.patience, Patience::Until(end) if end <= now)
    }
}

#[cfg(test)]
mod tests;
