//! What the server answered about a key.

use std::time::Duration;

use super::conversion::Sharing;
use super::{Context, Entry, Hold, Release, Request, Why};
use crate::driver::Reason;
use crate::engine::machine::event::{Effect, HoldId, Outcome, Patience, Refusal, SessionId};
use crate::engine::machine::key::queue::Waiter;
use crate::engine::machine::sessions::{Alarm, Op};
use crate::engine::machine::step::Step;
use crate::error::Error;
use crate::key::LockKey;
use crate::mode::Mode;

/// How often what was refused for an unknown reason is asked for again.
const MOST_REPEATS: u8 = 2;

impl Entry {
    pub(crate) fn tried(&mut self, session: SessionId, taken: bool, cx: &mut Context<'_>) {
        let Request::Try { session: by, mode, asked, pause } = self.request else {
            return;
        };
        if by != session {
            return;
        }
        self.request = Request::None;
        if taken {
            self.granted(session, mode, cx);
        } else {
            // Where no reader is let in, no writer is.
            let same =
                |w: &Waiter| Some(w.arrival) <= asked && (w.mode == mode || mode == Mode::Read);
            self.refused(Why::Busy(mode), same, pause, cx);
        }
        self.settle(cx);
    }

    /// The lock cannot be had now, which speaks to those at the front who are `meant`.
    fn refused(
        &mut self,
        why: Why,
        meant: impl Fn(&Waiter) -> bool,
        pause: Option<Duration>,
        cx: &mut Context<'_>,
    ) {
        let would_not_wait = |w: &Waiter| w.patience == Patience::Try && meant(w);
        while let Some(first) = self.queue.pop_front_if(would_not_wait) {
            cx.step.resolve(first.id, Outcome::Busy);
        }
        if self.queue.front().is_some_and(meant) {
            self.want_slot(why, pause, cx);
        }
    }

    pub(crate) fn probed(&mut self, session: SessionId, free: bool, cx: &mut Context<'_>) {
        let Request::Probe { session: by, asked, pause } = self.request else {
            return;
        };
        if by != session {
            return;
        }
        self.request = Request::None;
        if free {
            self.renew(cx.step.now);
        } else {
            self.refused(Why::WriterWaits, |w| Some(w.arrival) <= asked, pause, cx);
        }
        self.settle(cx);
    }

    /// The wait has ended. Unless it was cancelled from here, the caller is told of the refusal, or
    /// waits once more.
    pub(crate) fn waited(
        &mut self,
        session: SessionId,
        refusal: Option<&Refusal>,
        cx: &mut Context<'_>,
    ) {
        let Request::Wait { session: by, mode, cancelled } = self.request else {
            return;
        };
        if by != session {
            return;
        }
        self.request = Request::None;
        match refusal {
            None => self.granted(session, mode, cx),
            // What waited may wait on, however many locks are held by now.
            Some(_) if cancelled && self.is_still_wanted(mode) => {
                self.want_slot(Why::Busy(mode), None, cx);
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

    /// Whether the same may be granted if it is asked for once more. Where the reason is not known,
    /// that is tried a few times.
    fn is_asked_again(&mut self, reason: Reason) -> bool {
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
        self.holds.is_empty()
            && first.is_some_and(|w| w.mode == mode && w.patience == Patience::Wait)
    }

    pub(super) fn granted(&mut self, session: SessionId, mode: Mode, cx: &mut Context<'_>) {
        self.refusals = 0;
        *cx.holds += 1;
        self.turns = 0;
        self.holds.push(Hold {
            id: HoldId(*cx.holds),
            session,
            mode,
            guards: 0,
            used: mode,
            sharing: Sharing::No,
            release: Release::No,
            refusals: 0,
            confirm: None,
            since: cx.step.now,
            passes: 0,
        });
        if let Some(session) = cx.sessions.get_mut(session) {
            session.held += 1;
        }
    }

    pub(crate) fn unlocked(&mut self, id: HoldId, was_held: bool, cx: &mut Context<'_>) {
        let Some(at) = self.holds.iter().position(|hold| hold.id == id) else {
            return;
        };
        let hold = self.holds.swap_remove(at);
        if let Some(session) = cx.sessions.get_mut(hold.session) {
            session.held -= 1;
        }
        if let Some(confirm) = hold.confirm {
            match was_held {
                true => cx.step.resolve(confirm, Outcome::Released),
                false => cx.step.fail(confirm, cx.key, &Error::lost()),
            }
        }
        self.settle(cx);
    }

    /// The unlock failed: it is to be sent once more.
    pub(crate) fn unlock_again(&mut self, id: HoldId, cx: &mut Context<'_>) {
        let Some(hold) = self.hold_mut(id) else {
            return;
        };
        hold.release = Release::Queued;
        let op = Op::Unlock { key: cx.key, mode: hold.mode, hold: id };
        // What is asked behind the unlock must stay behind it.
        cx.sessions.push_first(hold.session, op);
    }

    /// The unlock is refused by itself: it is sent again at once, and then after growing pauses, in
    /// which callers here may have the lock.
    pub(crate) fn unlock_refused(&mut self, id: HoldId, refusal: &Refusal, cx: &mut Context<'_>) {
        let Some(hold) = self.hold_mut(id) else {
            return;
        };
        let Some(pause) = hold.pause_after(refusal.reason, cx.sessions.limits.poll_interval) else {
            return self.unlock_again(id, cx);
        };
        hold.release = Release::Refused;
        if let Some(confirm) = hold.confirm.take() {
            cx.step.fail(confirm, cx.key, &refusal.error);
        }
        let session = hold.session;
        // What is asked behind the unlock would be granted without it.
        if matches!(self.request, Request::Try { session: by, .. } if by == session) {
            cx.sessions.withdraw(session, cx.key);
            self.request = Request::None;
        }
        cx.sessions.alarm_at(cx.step.now + pause, Alarm::GiveBack(cx.key));
        self.settle(cx);
    }

    /// The server may take back now what it has refused to.
    pub(crate) fn give_back_again(&mut self, cx: &mut Context<'_>) {
        for hold in self.holds.iter_mut().filter(|hold| hold.release == Release::Refused) {
            hold.release = Release::No;
        }
        self.settle(cx);
    }

    /// What was asked for is refused by itself: tells those who asked, unless it is worth asking
    /// again.
    pub(crate) fn request_refused(
        &mut self,
        session: SessionId,
        refusal: &Refusal,
        cx: &mut Context<'_>,
    ) {
        let (Request::Try { session: by, asked, .. } | Request::Probe { session: by, asked, .. }) =
            self.request
        else {
            return;
        };
        if by != session {
            return;
        }
        self.request = Request::None;
        if !self.is_asked_again(refusal.reason) {
            while let Some(first) = self.queue.pop_front_if(|w| Some(w.arrival) <= asked) {
                cx.step.fail(first.id, cx.key, &refusal.error);
            }
        }
        self.settle(cx);
    }

    /// What was granted is gone before anybody had it, or the session is not to ask: asks again.
    pub(crate) fn request_missed(&mut self, session: SessionId, cx: &mut Context<'_>) {
        if self.asks(session) {
            self.request = Request::None;
            self.settle(cx);
        }
    }

    /// The session is gone, and with it what it held and what was asked of it. True if it mattered.
    pub(crate) fn session_ended(
        &mut self,
        session: SessionId,
        step: &mut Step<'_>,
        key: LockKey,
    ) -> bool {
        let before = self.holds.len();
        self.holds.retain(|hold| {
            let gone = hold.session == session;
            if let (true, Some(confirm)) = (gone, hold.confirm) {
                step.fail(confirm, key, &Error::lost());
            }
            !gone
        });
        let asked = self.asks(session);
        if asked {
            self.request = Request::None;
        }
        asked || self.holds.len() < before
    }

    /// Whether something is asked of this session.
    fn asks(&self, session: SessionId) -> bool {
        match self.request {
            Request::Try { session: by, .. }
            | Request::Probe { session: by, .. }
            | Request::Wait { session: by, .. } => by == session,
            Request::None | Request::Parked | Request::Slot { .. } => false,
        }
    }
}
