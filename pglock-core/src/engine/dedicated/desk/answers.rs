//! What the server has answered, and what follows for the callers.

use std::mem;

use super::{Ask, Caller, Desk, Patience, Unlock, Verdict};
use crate::driver::Holding;
use crate::error::Error;
use crate::looking::LockEntry;

impl<C: Caller> Desk<C> {
    /// What the server did for [`Job::Unlock`].
    pub(in crate::engine::dedicated) fn unlocked(&mut self, results: impl Iterator<Item = bool>) {
        for (unlock, was_held) in self.unlocking.drain(..).zip(results) {
            // What took this lock away may have taken others.
            self.has_doubt |= !was_held;
            let verdict = if was_held { Verdict::Released } else { Verdict::Failed(Error::lost()) };
            self.verdicts.extend(unlock.caller.map(|caller| (caller, verdict)));
        }
    }

    /// What the server did for [`Job::Try`].
    pub(in crate::engine::dedicated) fn tried(&mut self, is_granted: bool) {
        match self.asking.take() {
            Some(ask) if is_granted => self.grant(ask),
            Some(ask) if ask.patience == Patience::Try => {
                self.verdicts.push((ask.caller, Verdict::Busy));
            }
            Some(ask) => self.ask_again(Ask { was_tried: true, ..ask }),
            // The session ends.
            None => {}
        }
    }

    /// The server has granted the lock of [`Job::Wait`].
    pub(in crate::engine::dedicated) fn granted(&mut self) {
        if let Some(ask) = self.asking.take() {
            self.grant(ask);
        }
    }

    /// The server has not done the job, or only part of it. `failure`: why not to ask it again.
    pub(in crate::engine::dedicated) fn refused(&mut self, failure: Option<Error>) {
        self.has_doubt = true;
        if let Some(ask) = &mut self.asking {
            ask.failure = ask.failure.take().or(failure);
        }
    }

    /// What the session holds. False if it lacks a lock that guards have: it was taken away.
    pub(in crate::engine::dedicated) fn found(&mut self, holdings: &[Holding]) -> bool {
        self.has_doubt = false;
        if let Some(mut ask) = self.asking.take() {
            match ask.failure.take() {
                _ if holdings.contains(&ask.lock) => self.grant(ask),
                Some(error) => self.refuse(ask.caller, error),
                None => self.ask_again(ask),
            }
        }
        for unlock in mem::take(&mut self.unlocking) {
            if holdings.contains(&unlock.lock) {
                self.unlocks.push_back(unlock);
            } else {
                let caller = unlock.caller.map(|caller| (caller, Verdict::Released));
                self.verdicts.extend(caller);
            }
        }
        if self.held.keys().any(|lock| !holdings.contains(lock)) {
            return false;
        }
        let confirmed = self.confirming.drain(..).filter_map(|confirm| confirm.caller);
        self.verdicts.extend(confirmed.map(|caller| (caller, Verdict::Released)));
        // What a failed wait has left behind.
        for lock in holdings {
            if !self.holds(*lock) && self.unlocks.iter().all(|unlock| unlock.lock != *lock) {
                self.unlocks.push_back(Unlock { lock: *lock, caller: None });
            }
        }
        true
    }

    /// Who holds the key of [`Job::Holders`].
    pub(in crate::engine::dedicated) fn timed_out(&mut self, holders: Vec<LockEntry>) {
        if let Some(ask) = self.asking.take() {
            self.refuse(ask.caller, Error::timeout(holders));
        }
    }

    pub(super) fn grant(&mut self, ask: Ask<C>) {
        *self.held.entry(ask.lock).or_default() += 1;
        self.verdicts.push((ask.caller, Verdict::Granted(ask.lock)));
    }

    fn ask_again(&mut self, ask: Ask<C>) {
        match ask.patience {
            Patience::Try => self.tries.push_front(ask),
            Patience::Until(_) | Patience::Wait => self.waits.push_front(ask),
        }
    }
}
