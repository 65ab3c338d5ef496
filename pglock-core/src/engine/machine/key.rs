//! One key: the callers that want it, what the server has granted, and the one pending request.

mod ask;
pub(super) mod conversion;
mod grant;
pub(super) mod queue;
mod upgrade;

use self::ask::Asking;
pub(super) use self::ask::{Ask, Why};
use self::conversion::Conversion;
pub(super) use self::grant::{Grant, Release};
use self::queue::{Queue, Waiter};
use super::event::{GrantId, Outcome, Patience};
use super::run::Gathering;
use super::sessions::{Claims, Place, Sessions};
use super::step::Step;
use crate::key::LockKey;
use crate::mode::Mode;

#[derive(Debug, Default)]
pub(super) struct KeyState {
    /// Callers in order of arrival. The machine asks the server only for what the first one wants.
    pub(super) queue: Queue,
    /// Locks that the server has granted. More than one only for readers: an old grant that drains
    /// beside a new one.
    pub(super) grants: Vec<Grant>,
    pub(super) ask: Ask,
    /// The key's place in line for a waiting session.
    place: Option<Place>,
    /// How often the server refused the request for an unknown reason.
    refusals: u8,
    /// The number of turns in a waiting session since the last grant.
    pub(super) turns: u8,
}

/// The parts of the machine that a key needs.
pub(super) struct Context<'a> {
    pub(super) key: LockKey,
    pub(super) sessions: &'a mut Sessions,
    pub(super) last_grant: &'a mut GrantId,
    /// The run that is being put to a session.
    pub(super) gathering: Option<&'a mut Gathering>,
    pub(super) step: Step<'a>,
}

impl KeyState {
    pub(super) fn is_unused(&self) -> bool {
        self.queue.is_empty() && self.grants.is_empty() && self.ask == Ask::None
    }

    pub(super) fn grant_mut(&mut self, id: GrantId) -> Option<&mut Grant> {
        self.grants.iter_mut().find(|grant| grant.id == id)
    }

    /// Whether the state is worth keeping for another key once it is unused.
    pub(super) fn is_small(&self) -> bool {
        self.queue.is_small()
    }

    /// The locks at the server that this key holds or asks for.
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

    /// Does everything that can be done now: grants, releases, converts and asks. Call it last
    /// after any change to the key.
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

    /// Whether a caller in this process holds the lock in a conflicting mode.
    pub(super) fn is_blocked_here(&self, mode: Mode) -> bool {
        self.grants.iter().any(|grant| grant.guards > 0 && !grant.used.is_compatible_with(mode))
    }

    /// Whether a caller here holds the lock who is in the way of the first one.
    fn is_first_blocked_here(&self, first: &Waiter) -> bool {
        match first.upgrades {
            Some(_) => self.has_other_guards(),
            None => self.is_blocked_here(first.mode),
        }
    }

    /// Whether the server refuses to take back an unused lock, or to let other readers in.
    fn is_stuck(&self) -> bool {
        let is_stuck = |grant: &Grant| {
            grant.release == Release::Refused || grant.conversion == Conversion::Refused
        };
        self.grants.iter().any(is_stuck)
    }

    fn has_guards(&self) -> bool {
        self.grants.iter().any(|grant| grant.guards > 0)
    }

    /// Whether the first caller waits for a holder: one in this process, or one that is ahead in
    /// the server's queue.
    pub(super) fn waits_behind_a_holder(&self) -> bool {
        matches!(self.ask, Ask::Wait { .. })
            || self.queue.front().is_some_and(|first| self.is_first_blocked_here(first))
    }

    /// Whether the lock was not free when the server was last asked.
    pub(super) fn was_refused(&self) -> bool {
        matches!(self.ask, Ask::InLine { why: Why::Busy(_) | Why::WriterWaits | Why::Upgrade, .. })
    }

    /// Reports a busy lock to callers that would not wait, once it is known to be busy. Returns
    /// true if there were any.
    fn refuse_tries(&mut self, step: &mut Step<'_>) -> bool {
        let Some(first) = self.queue.front() else {
            return false;
        };
        // What the key asks for other callers says nothing about an upgrade.
        let ask = if first.tries_to_upgrade() { Ask::None } else { self.ask };
        let busy = match ask {
            Ask::None => self.is_first_blocked_here(first) || self.is_stuck(),
            Ask::InLine { why, .. } => why != Why::Probe,
            // A wait that is being given up does not show whether the lock is busy.
            Ask::Wait { cancelled, .. } => !cancelled,
            Ask::Parked | Ask::Try { .. } | Ask::Probe { .. } => false,
        };
        if !busy {
            return false;
        }
        // If the first one is a try, only that one is refused: the tries behind it may fare better.
        let only_first = |waiter: &Waiter| waiter.patience == Patience::Try;
        if let Some(first) = self.queue.pop_front_if(only_first) {
            step.resolve(first.id, Outcome::Busy);
            return true;
        }
        self.queue.take_tries(|waiter| step.resolve(waiter.id, Outcome::Busy))
    }
}
