//! The callers that wait for a key, in order.

use std::collections::VecDeque;

use crate::engine::machine::event::{Arrival, CallerId, GrantId, Patience};
use crate::mode::Mode;

/// Callers in order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiters: VecDeque<Waiter>,
    /// The number of callers that would not wait. The queue is searched for them only if there are
    /// any.
    tries: usize,
    writers: usize,
}

#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) id: CallerId,
    pub(crate) mode: Mode,
    pub(crate) patience: Patience,
    pub(crate) arrival: Arrival,
    /// Belongs to a run: it is asked for with the run, or not at all.
    pub(crate) in_run: bool,
    /// It has this read lock, which is to become the write lock.
    pub(crate) upgrades: Option<GrantId>,
}

impl Waiter {
    /// One that has yet to arrive.
    pub(crate) fn new(id: CallerId, mode: Mode, patience: Patience) -> Self {
        Self { id, mode, patience, arrival: Arrival::default(), in_run: false, upgrades: None }
    }

    /// Whether it wants to write in place of reading, but not to wait for that.
    pub(super) fn tries_to_upgrade(&self) -> bool {
        self.upgrades.is_some() && self.patience == Patience::Try
    }
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiters.len()
    }

    pub(crate) fn has_writers(&self) -> bool {
        self.writers > 0
    }

    /// Whether it uses little memory.
    pub(crate) fn is_small(&self) -> bool {
        self.waiters.capacity() <= 16
    }

    pub(crate) fn front(&self) -> Option<&Waiter> {
        self.waiters.front()
    }

    /// The read lock that the first caller has, if it wants the write lock in its place.
    pub(crate) fn upgrades(&self) -> Option<GrantId> {
        self.front()?.upgrades
    }

    /// Removes the upgrades, which are the first, of these read locks.
    pub(crate) fn take_upgrades(&mut self, of: impl Fn(GrantId) -> bool) -> Vec<Waiter> {
        let is_meant = |waiter: &Waiter| waiter.upgrades.is_some_and(&of);
        let upgrades = self.waiters.iter().take_while(|waiter| waiter.upgrades.is_some());
        let meant: Vec<_> = upgrades.filter(|waiter| is_meant(waiter)).map(|w| w.id).collect();
        meant.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// Returns true if it is the first in line.
    pub(crate) fn push_back(&mut self, waiter: Waiter) -> bool {
        self.comes(&waiter);
        if cfg!(pglock_seed_bug = "readers_pass") && waiter.mode == Mode::Read {
            self.waiters.push_front(waiter);
            return true;
        }
        self.waiters.push_back(waiter);
        self.waiters.len() == 1
    }

    /// It goes before all others.
    pub(crate) fn push_front(&mut self, waiter: Waiter) {
        self.comes(&waiter);
        self.waiters.push_front(waiter);
    }

    pub(crate) fn pop_front(&mut self) -> Option<Waiter> {
        let waiter = self.waiters.pop_front()?;
        self.leaves(&waiter);
        Some(waiter)
    }

    pub(crate) fn pop_front_if(&mut self, wanted: impl Fn(&Waiter) -> bool) -> Option<Waiter> {
        if wanted(self.front()?) { self.pop_front() } else { None }
    }

    pub(crate) fn remove(&mut self, id: CallerId) -> Option<Waiter> {
        let at = self.waiters.iter().position(|waiter| waiter.id == id)?;
        let waiter = self.waiters.remove(at)?;
        self.leaves(&waiter);
        Some(waiter)
    }

    fn comes(&mut self, waiter: &Waiter) {
        self.tries += usize::from(waiter.patience == Patience::Try);
        self.writers += usize::from(waiter.mode == Mode::Write);
    }

    fn leaves(&mut self, waiter: &Waiter) {
        self.tries -= usize::from(waiter.patience == Patience::Try);
        self.writers -= usize::from(waiter.mode == Mode::Write);
    }

    /// Removes callers that would not wait. Returns true if there were any.
    pub(crate) fn take_tries(&mut self, mut taken: impl FnMut(Waiter)) -> bool {
        if self.tries == 0 {
            return false;
        }
        for waiter in std::mem::take(&mut self.waiters) {
            match waiter.patience {
                Patience::Try => {
                    self.leaves(&waiter);
                    taken(waiter);
                }
                Patience::Wait => self.waiters.push_back(waiter),
            }
        }
        true
    }
}
