//! One key: who wants it here, what the server has granted, and the one thing asked of the server.

mod ask;
pub(super) mod conversion;
mod grant;
pub(super) mod queue;

use self::ask::Asking;
pub(super) use self::ask::{Ask, Why};
use self::conversion::Conversion;
pub(super) use self::grant::{Grant, Release};
use self::queue::{Queue, Waiter};
use super::event::{GrantId, Outcome, Patience};
use super::sessions::{Claims, Place, Sessions};
use super::step::Step;
use crate::key::LockKey;
use crate::mode::Mode;

#[derive(Debug, Default)]
pub(super) struct KeyState {
    /// Callers in order of arrival. Only the first one's wish is put to the server.
    pub(super) queue: Queue,
    /// Granted by the server. More than one only for readers: an old grant that drains beside a new
    /// one.
    pub(super) grants: Vec<Grant>,
    pub(super) ask: Ask,
    /// In line for a waiting session.
    place: Option<Place>,
    /// How often what was asked for was refused for a reason that is not known.
    refusals: u8,
    /// How many turns in a waiting session were in vain since it was granted last.
    pub(super) turns: u8,
}

/// What a key needs of the machine.
pub(super) struct Context<'a> {
    pub(super) key: LockKey,
    pub(super) sessions: &'a mut Sessions,
    pub(super) last_grant: &'a mut GrantId,
    pub(super) step: Step<'a>,
}

impl KeyState {
    pub(super) fn is_unused(&self) -> bool {
        self.queue.is_empty() && self.grants.is_empty() && self.ask == Ask::None
    }

    pub(super) fn grant_mut(&mut self, id: GrantId) -> Option<&mut Grant> {
        self.grants.iter_mut().find(|grant| grant.id == id)
    }

    /// Whether it is worth keeping for another key once it is unused.
    pub(super) fn is_small(&self) -> bool {
        self.queue.is_small()
    }

    /// Locks at the server that this key has, or asks for.
    pub(super) fn claims(&self) -> Claims {
        let is_ending = |grant: &&Grant| matches!(grant.release, Release::Queued | Release::Sent);
        let ending = self.grants.iter().filter(is_ending).count();
        let (waits, answers) = match self.ask {
            Ask::Wait { cancelled, .. } => (!cancelled, cancelled),
            Ask::Try { .. } => (false, true),
            _ => (false, false),
        };
        Claims {
            held: self.grants.len() - ending + usize::from(waits),
            pending: ending + usize::from(answers),
        }
    }

    /// Does everything that can be done now: grants, releases, converts and asks. Whatever has
    /// changed for the key, this comes last.
    pub(super) fn settle(&mut self, cx: &mut Context<'_>) {
        loop {
            self.serve(cx);
            self.release_unused(cx);
            self.convert(cx);
            let asking = self.ask_server(cx);
            if !self.refuse_tries(&mut cx.step) && asking == Asking::Done {
                break;
            }
        }
        if self.queue.is_empty() {
            self.refusals = 0;
            self.turns = 0;
        }
        if !self.wants_waiting() {
            self.leave_line(cx.sessions);
        }
    }

    /// Whether a caller here holds the lock in a conflicting mode.
    fn is_blocked_here(&self, mode: Mode) -> bool {
        self.grants.iter().any(|grant| grant.guards > 0 && !grant.used.is_compatible_with(mode))
    }

    /// Whether the server does not take back what nobody here has a use for, or does not let other
    /// readers in.
    fn is_stuck(&self) -> bool {
        let is_stuck = |grant: &Grant| {
            grant.release == Release::Refused || grant.conversion == Conversion::Refused
        };
        self.grants.iter().any(is_stuck)
    }

    fn has_guards(&self) -> bool {
        self.grants.iter().any(|grant| grant.guards > 0)
    }

    /// Whether somebody has the lock who is in the way of the first caller: one here, or one whom
    /// it waits for in the server's queue.
    pub(super) fn waits_behind_a_holder(&self) -> bool {
        matches!(self.ask, Ask::Wait { .. })
            || self.queue.front().is_some_and(|first| self.is_blocked_here(first.mode))
    }

    /// Whether the lock was not free when the server was asked last.
    pub(super) fn was_refused(&self) -> bool {
        matches!(self.ask, Ask::InLine { why: Why::Busy(_) | Why::WriterWaits, .. })
    }

    /// Tells callers who would not wait that the lock is busy, once that is known. True if there
    /// were any.
    fn refuse_tries(&mut self, step: &mut Step<'_>) -> bool {
        let Some(first) = self.queue.front() else {
            return false;
        };
        let busy = match self.ask {
            Ask::None => self.is_blocked_here(first.mode) || self.is_stuck(),
            Ask::InLine { why, .. } => why != Why::Probe,
            // A wait that is being given up says nothing about the lock.
            Ask::Wait { cancelled, .. } => !cancelled,
            Ask::Parked | Ask::Try { .. } | Ask::Probe { .. } => false,
        };
        if !busy {
            return false;
        }
        // Those behind one who would not wait either may fare better than that one.
        let only_first = |waiter: &Waiter| waiter.patience == Patience::Try;
        if let Some(first) = self.queue.pop_front_if(only_first) {
            step.resolve(first.id, Outcome::Busy);
            return true;
        }
        self.queue.take_tries(|waiter| step.resolve(waiter.id, Outcome::Busy))
    }
}
