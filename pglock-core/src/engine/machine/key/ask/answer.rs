//! Handles the server's answer to an [`Ask`].

use std::time::Duration;

use super::{Ask, Why};
use crate::driver::Reason;
use crate::engine::machine::event::{Effect, Outcome, Patience, Refusal, SessionId};
use crate::engine::machine::key::queue::Waiter;
use crate::engine::machine::key::{Context, KeyState};
use crate::engine::machine::step::Step;
use crate::error::Error;
use crate::key::LockKey;
use crate::mode::Mode;

/// How often a request is repeated after refusals for an unknown reason.
const MOST_REPEATS: u8 = 2;

impl KeyState {
    pub(crate) fn tried(&mut self, session: SessionId, taken: bool, cx: &mut Context<'_>) {
        let Ask::Try { session: by, mode, sent_after, pause } = self.ask else {
            return;
        };
        if by != session {
            return;
        }
        self.ask = Ask::None;
        if taken {
            self.granted(session, mode, cx);
        } else {
            // A lock that refuses a reader also refuses a writer.
            let same = |w: &Waiter| {
                Some(w.arrival) <= sent_after && (w.mode == mode || mode == Mode::Read)
            };
            self.refused(Why::Busy(mode), same, pause, cx);
        }
        self.settle(cx);
    }

    /// The lock is not available now. This concerns those callers at the front that are `meant`.
    fn refused(
        &mut self,
        why: Why,
        meant: impl Fn(&Waiter) -> bool,
        pause: Option<Duration>,
        cx: &mut Context<'_>,
    ) {
        let meant = |w: &Waiter| w.upgrades.is_none() && meant(w);
        let would_not_wait = |w: &Waiter| w.patience == Patience::Try && meant(w);
        while let Some(first) = self.queue.pop_front_if(would_not_wait) {
            cx.step.resolve(first.id, Outcome::Busy);
        }
        if self.queue.front().is_some_and(meant) {
            self.line_up(why, pause, cx);
        }
    }

    pub(crate) fn probed(&mut self, session: SessionId, free: bool, cx: &mut Context<'_>) {
        let Ask::Probe { session: by, sent_after, pause } = self.ask else {
            return;
        };
        if by != session {
            return;
        }
        self.ask = Ask::None;
        if free {
            self.renew(cx.step.now);
        } else {
            self.refused(Why::WriterWaits, |w| Some(w.arrival) <= sent_after, pause, cx);
        }
        self.settle(cx);
    }

    /// The wait has ended. Unless this process cancelled it, the caller gets the refusal, or waits
    /// again.
    pub(crate) fn waited(
        &mut self,
        session: SessionId,
        refusal: Option<&Refusal>,
        cx: &mut Context<'_>,
    ) {
        let Ask::Wait { session: by, mode, cancelled } = self.ask else {
            return;
        };
        if by != session {
            return;
        }
        self.ask = Ask::None;
        match refusal {
            None => {
                // A read lock whose guard wants to write would be in the way: it has gone.
                self.end_pauses();
                self.granted(session, mode, cx);
            }
            // A key that was waiting may wait again, however many locks are held by now.
            Some(_) if cancelled && self.is_still_wanted(mode) => {
                self.line_up(Why::Busy(mode), None, cx);
            }
            Some(_) if cancelled => {}
            Some(Refusal { error, reason }) if self.is_asked_again(*reason) => {
                let (key, error) = (cx.key, error.clone());
                cx.step.push(Effect::WaitCancelled { session, key, error });
            }
            Some(Refusal { error, .. }) => {
                if let Some(first) = self.queue.pop_front() {
                    cx.step.fail(first.id, cx.key, error);
                }
            }
        }
        self.settle(cx);
    }

    /// Whether the request may succeed if it is repeated. If the reason is unknown, it is repeated
    /// a few times.
    pub(in crate::engine::machine::key) fn is_asked_again(&mut self, reason: Reason) -> bool {
        let again = match reason {
            Reason::Cancelled => true,
            Reason::Itself => false,
            Reason::Unknown => self.refusals < MOST_REPEATS,
        };
        self.refusals = if again { self.refusals + u8::from(reason == Reason::Unknown) } else { 0 };
        again
    }

    fn is_still_wanted(&self, mode: Mode) -> bool {
        let first = self.queue.front();
        self.grants.is_empty()
            && first.is_some_and(|w| w.mode == mode && w.patience == Patience::Wait)
    }

    /// The server refused this request alone: fails the callers that wanted it, unless it is worth
    /// repeating.
    pub(crate) fn ask_refused(
        &mut self,
        session: SessionId,
        refusal: &Refusal,
        cx: &mut Context<'_>,
    ) {
        let (Ask::Try { session: by, sent_after, .. } | Ask::Probe { session: by, sent_after, .. }) =
            self.ask
        else {
            return;
        };
        if by != session {
            return;
        }
        self.ask = Ask::None;
        if !self.is_asked_again(refusal.reason) {
            let asked = |w: &Waiter| w.upgrades.is_none() && Some(w.arrival) <= sent_after;
            while let Some(first) = self.queue.pop_front_if(asked) {
                cx.step.fail(first.id, cx.key, &refusal.error);
            }
        }
        self.settle(cx);
    }

    /// What was granted is gone before anybody had it, or the session has not asked or is not to
    /// ask: asks again, but not for a run.
    pub(crate) fn ask_missed(&mut self, session: SessionId, cx: &mut Context<'_>) {
        if self.asks(session) {
            self.ask = Ask::None;
            self.settle(cx);
        }
    }

    /// The session has ended, with its grants and pending requests. Returns true if this key had
    /// any.
    pub(crate) fn session_ended(
        &mut self,
        session: SessionId,
        step: &mut Step<'_>,
        key: LockKey,
    ) -> bool {
        let before = self.grants.len();
        self.grants.retain(|grant| {
            let gone = grant.session == session;
            if let (true, Some(releaser)) = (gone, grant.releaser) {
                step.fail(releaser, key, &Error::lost());
            }
            !gone
        });
        let grants = &self.grants;
        for upgrade in self.queue.take_upgrades(|id| grants.iter().all(|grant| grant.id != id)) {
            step.fail(upgrade.id, key, &Error::lost());
        }
        let asked = self.asks(session);
        if asked {
            self.ask = Ask::None;
        }
        asked || self.grants.len() < before
    }

    /// Whether this session has a pending request of the key.
    fn asks(&self, session: SessionId) -> bool {
        match self.ask {
            Ask::Try { session: by, .. }
            | Ask::Probe { session: by, .. }
            | Ask::Wait { session: by, .. } => by == session,
            Ask::None | Ask::Parked | Ask::InLine { .. } => false,
        }
    }
}
