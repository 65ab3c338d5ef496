//! Readers that become writers, with no other writer in between.
//!
//! The caller stands before all others in the queue, so that no reader here joins meanwhile. When
//! it is the only one here that has the lock, the session that holds the read lock asks for the
//! write lock, without waiting. The [`Upgrade`] of that lock:
//!
//! ```text
//!        the only reader here  ┌────────┐  in a statement  ┌──────┐
//!      ┌─────────────────────► │ Queued │ ───────────────► │ Sent │ done, failed, or would not wait
//! ┌────┐                       └────────┘                  └──────┘ ─────────────────────────┐
//! │ No │                           ▲                          │ others read                  │
//! └────┘                        ┌─────┐     a pause       ┌───────┐                          │
//!    ▲                          │ Due │ ◄──────────────── │ Later │                          │
//!    │                          └─────┘                   └───────┘                          │
//!    └───────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A caller that waits until it is alone asks again after each pause. Meanwhile, a waiting session
//! waits for the write lock in the server's queue. It cannot have it before the read lock is gone,
//! but no other reader gets past it ([`Why::Upgrade`]).
//!
//! If its caller has left when it is done, the lock becomes a read lock again, by its
//! [`Conversion`].

use std::time::Duration;

use super::{Ask, Context, Grant, KeyState, Why};
use crate::engine::machine::event::{Arrival, GrantId, Outcome, Patience, Refusal};
use crate::engine::machine::key::conversion::Conversion;
use crate::engine::machine::key::queue::Waiter;
use crate::engine::machine::sessions::Errand;
use crate::engine::machine::timers::Timer;
use crate::mode::Mode;

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What becomes of a read lock whose guard wants to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::engine::machine) enum Upgrade {
    No,
    /// It is to be turned into a write lock.
    Queued(Turn),
    /// It is on the way: the session may have either lock.
    Sent(Turn),
    /// Others read, too.
    Later(Turn),
    /// The pause is over.
    Due(Turn),
}

/// One of the times that a caller asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::engine::machine) struct Turn {
    caller: Arrival,
    /// Before the next one.
    pause: Duration,
}

impl Turn {
    fn first(caller: &Waiter) -> Self {
        Self { caller: caller.arrival, pause: FIRST_PAUSE }
    }

    /// The next one. All pauses before a pause are together about four times as long.
    fn next(self) -> Self {
        Self { pause: (self.pause * 5 / 4).min(LONGEST_PAUSE), ..self }
    }
}

impl Upgrade {
    /// Whether the session may have either lock.
    pub(super) fn is_sent(self) -> bool {
        matches!(self, Self::Sent(_))
    }
}

impl Grant {
    /// The session turns out to hold the write lock.
    pub(in crate::engine::machine) fn was_upgraded(&mut self) {
        if self.upgrade.is_sent() {
            self.mode = Mode::Write;
        }
    }

    /// What is asked now for this caller, if it is time to ask.
    fn turn_of(&self, caller: &Waiter) -> Option<Turn> {
        match self.upgrade {
            Upgrade::Queued(_) | Upgrade::Sent(_) => None,
            Upgrade::Later(turn) if turn.caller == caller.arrival => None,
            Upgrade::Due(turn) if turn.caller == caller.arrival => Some(turn),
            Upgrade::No | Upgrade::Later(_) | Upgrade::Due(_) => Some(Turn::first(caller)),
        }
    }
}

impl KeyState {
    /// Whether more than one caller here has the lock.
    pub(super) fn has_other_guards(&self) -> bool {
        self.grants.iter().map(|grant| grant.guards).sum::<u32>() > 1
    }

    /// Gives the first caller the write lock if the server has granted it to the session that has
    /// its read lock.
    pub(super) fn serve_upgrade(&mut self, id: GrantId, cx: &mut Context<'_>) -> bool {
        let has_other_guards = self.has_other_guards();
        let Some(grant) = self.grant_mut(id) else {
            return false;
        };
        let is_write = grant.mode == Mode::Write && !grant.conversion.is_sent();
        if has_other_guards || !is_write {
            return false;
        }
        grant.used = Mode::Write;
        grant.conversion = Conversion::No;
        if let Some(first) = self.queue.pop_front() {
            cx.step.resolve(first.id, Outcome::Upgraded);
        }
        true
    }

    /// Asks the server for the write lock in place of this read lock, if nothing here is in its way.
    pub(super) fn ask_upgrade(&mut self, id: GrantId, cx: &mut Context<'_>) {
        // Any of these may be a read lock of this process, in another session.
        let is_asking = matches!(
            self.ask,
            Ask::Try { .. } | Ask::Probe { .. } | Ask::Wait { mode: Mode::Read, .. }
        );
        if is_asking || self.grants.len() > 1 || self.has_other_guards() {
            return;
        }
        let (Some(first), Some(grant)) = (self.queue.front(), self.grants.first_mut()) else {
            return;
        };
        if grant.mode == Mode::Write || grant.conversion.is_sent() {
            return;
        }
        if let Some(turn) = grant.turn_of(first) {
            grant.upgrade = Upgrade::Queued(turn);
            let errand = Errand::Upgrade { key: cx.key, grant: id };
            cx.sessions.push(grant.session, errand, &mut cx.step);
        } else if self.ask == Ask::None && matches!(grant.upgrade, Upgrade::Later(_)) {
            self.line_up(Why::Upgrade, None, cx);
        }
    }

    /// The pause is over.
    pub(crate) fn upgrade_again(&mut self, cx: &mut Context<'_>) {
        self.end_pauses();
        self.settle(cx);
    }

    /// Asks at once. Until the answer, no other session waits in favour of the upgrade.
    pub(super) fn end_pauses(&mut self) {
        for grant in &mut self.grants {
            if let Upgrade::Later(turn) = grant.upgrade {
                grant.upgrade = Upgrade::Due(turn);
            }
        }
    }

    /// Whether it still makes sense; it is on its way then.
    pub(crate) fn sends_upgrade(&mut self, id: GrantId) -> bool {
        let first = self.queue.front().filter(|w| w.upgrades == Some(id));
        let first = first.filter(|_| !self.has_other_guards()).map(Turn::first);
        let Some(grant) = self.grant_mut(id) else {
            return false;
        };
        let Upgrade::Queued(turn) = grant.upgrade else {
            return false;
        };
        grant.upgrade = match first {
            Some(first) if first.caller != turn.caller => Upgrade::Sent(first),
            Some(_) => Upgrade::Sent(turn),
            None => Upgrade::No,
        };
        first.is_some()
    }

    pub(crate) fn upgrade_answered(&mut self, id: GrantId, done: bool, cx: &mut Context<'_>) {
        let Some(grant) = self.grant_mut(id) else {
            return;
        };
        let sent = std::mem::replace(&mut grant.upgrade, Upgrade::No);
        if done {
            grant.mode = Mode::Write;
        } else if let Upgrade::Sent(turn) = sent {
            self.upgrade_refused(id, turn, cx);
        }
        self.settle(cx);
    }

    /// Others read, too. That speaks to the caller for whom it was asked.
    fn upgrade_refused(&mut self, id: GrantId, turn: Turn, cx: &mut Context<'_>) {
        let asked = |w: &Waiter| w.upgrades == Some(id) && w.arrival == turn.caller;
        let gives_up = |w: &Waiter| asked(w) && w.patience == Patience::Try;
        if let Some(first) = self.queue.pop_front_if(gives_up) {
            cx.step.resolve(first.id, Outcome::Busy);
        } else if self.queue.front().is_some_and(asked)
            && let Some(grant) = self.grant_mut(id)
        {
            grant.upgrade = Upgrade::Later(turn.next());
            cx.sessions.timers.set_at_latest(Timer::Upgrade(cx.key), cx.step.now + turn.pause);
        }
    }

    /// It was not done. The caller gets the error, unless the machine asks again.
    pub(crate) fn upgrade_failed(
        &mut self,
        id: GrantId,
        refusal: Option<&Refusal>,
        cx: &mut Context<'_>,
    ) {
        let Some(grant) = self.grant_mut(id) else {
            return;
        };
        grant.upgrade = Upgrade::No;
        if let Some(refusal) = refusal
            && !self.is_asked_again(refusal.reason)
            && let Some(first) = self.queue.pop_front_if(|w| w.upgrades == Some(id))
        {
            cx.step.fail(first.id, cx.key, &refusal.error);
        }
        self.settle(cx);
    }
}
