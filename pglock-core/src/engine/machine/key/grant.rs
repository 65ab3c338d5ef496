//! What the server answered about a key.

use std::time::Duration;

use super::conversion::Conversion;
use super::{Ask, Context, Grant, KeyState, Release, Why};
use crate::driver::Reason;
use crate::engine::machine::event::{Effect, GrantId, Outcome, Patience, Refusal, SessionId};
use crate::engine::machine::key::queue::Waiter;
use crate::engine::machine::sessions::Op;
use crate::engine::machine::step::Step;
use crate::engine::machine::timers::Timer;
use crate::error::Error;
use crate::key::LockKey;
use crate::mode::Mode;

/// How often what was refused for an unknown reason is asked for again.
const MOST_REPEATS: u8 = 2;

impl KeyState {
    pub(crate) fn tried(&mut self, session: SessionId, taken: bool, cx: &mut Context<'_>) {
        let Ask::Try { session: by, mode, asked, pause } = self.ask else {
            return;
        };
        if by != session {
            return;
        }
        self.ask = Ask::None;
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
            self.line_up(why, pause, cx);
        }
    }

    pub(crate) fn probed(&mut self, session: SessionId, free: bool, cx: &mut Context<'_>) {
        let Ask::Probe { session: by, asked, pause } = self.ask else {
            return;
        };
        if by != session {
            return;
        }
        self.ask = Ask::None;
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
        let Ask::Wait { session: by, mode, cancelled } = self.ask else {
            return;
        };
        if by != session {
            return;
        }
        self.ask = Ask::None;
        match refusal {
            None => self.granted(session, mode, cx),
            // What waited may wait on, however many locks are held by now.
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
        self.grants.is_empty()
            && first.is_some_and(|w| w.mode == mode && w.patience == Patience::Wait)
    }

    pub(super) fn granted(&mut self, session: SessionId, mode: Mode, cx: &mut Context<'_>) {
        self.refusals = 0;
        *cx.last_grant += 1;
        self.turns = 0;
        self.grants.push(Grant {
            id: GrantId(*cx.last_grant),
            session,
            mode,
            guards: 0,
            used: mode,
            conversion: Conversion::No,
            release: Release::No,
            refusals: 0,
            releaser: None,
            since: cx.step.now,
            passes: 0,
        });
        if let Some(session) = cx.sessions.get_mut(session) {
            session.grants += 1;
        }
    }

    pub(crate) fn unlocked(&mut self, id: GrantId, was_held: bool, cx: &mut Context<'_>) {
        let Some(at) = self.grants.iter().position(|grant| grant.id == id) else {
            return;
        };
        let grant = self.grants.swap_remove(at);
        if let Some(session) = cx.sessions.get_mut(grant.session) {
            session.grants -= 1;
        }
        if let Some(releaser) = grant.releaser {
            match was_held {
                true => cx.step.resolve(releaser, Outcome::Released),
                false => cx.step.fail(releaser, cx.key, &Error::lost()),
            }
        }
        self.settle(cx);
    }

    /// The unlock failed: it is to be sent once more.
    pub(crate) fn unlock_again(&mut self, id: GrantId, cx: &mut Context<'_>) {
        let Some(grant) = self.grant_mut(id) else {
            return;
        };
        grant.release = Release::Queued;
        let op = Op::Unlock { key: cx.key, mode: grant.mode, grant: id };
        // What is asked behind the unlock must stay behind it.
        cx.sessions.push_first(grant.session, op);
    }

    /// The unlock is refused by itself: it is sent again at once, and then after growing pauses, in
    /// which callers here may have the lock.
    pub(crate) fn unlock_refused(&mut self, id: GrantId, refusal: &Refusal, cx: &mut Context<'_>) {
        let Some(grant) = self.grant_mut(id) else {
            return;
        };
        let Some(pause) = grant.pause_after(refusal.reason, cx.sessions.config.poll_interval)
        else {
            return self.unlock_again(id, cx);
        };
        grant.release = Release::Refused;
        if let Some(releaser) = grant.releaser.take() {
            cx.step.fail(releaser, cx.key, &refusal.error);
        }
        let session = grant.session;
        // What is asked behind the unlock would be granted without it.
        if matches!(self.ask, Ask::Try { session: by, .. } if by == session) {
            cx.sessions.withdraw(session, cx.key);
            self.ask = Ask::None;
        }
        cx.sessions.timers.set_at_latest(Timer::ReleaseAgain(cx.key), cx.step.now + pause);
        self.settle(cx);
    }

    /// The server may take back now what it has refused to.
    pub(crate) fn release_again(&mut self, cx: &mut Context<'_>) {
        for grant in self.grants.iter_mut().filter(|grant| grant.release == Release::Refused) {
            grant.release = Release::No;
        }
        self.settle(cx);
    }

    /// What was asked for is refused by itself: tells those who asked, unless it is worth asking
    /// again.
    pub(crate) fn ask_refused(
        &mut self,
        session: SessionId,
        refusal: &Refusal,
        cx: &mut Context<'_>,
    ) {
        let (Ask::Try { session: by, asked, .. } | Ask::Probe { session: by, asked, .. }) =
            self.ask
        else {
            return;
        };
        if by != session {
            return;
        }
        self.ask = Ask::None;
        if !self.is_asked_again(refusal.reason) {
            while let Some(first) = self.queue.pop_front_if(|w| Some(w.arrival) <= asked) {
                cx.step.fail(first.id, cx.key, &refusal.error);
            }
        }
        self.settle(cx);
    }

    /// What was granted is gone before anybody had it, or the session is not to ask: asks again.
    pub(crate) fn ask_missed(&mut self, session: SessionId, cx: &mut Context<'_>) {
        if self.asks(session) {
            self.ask = Ask::None;
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
        let before = self.grants.len();
        self.grants.retain(|grant| {
            let gone = grant.session == session;
            if let (true, Some(releaser)) = (gone, grant.releaser) {
                step.fail(releaser, key, &Error::lost());
            }
            !gone
        });
        let asked = self.asks(session);
        if asked {
            self.ask = Ask::None;
        }
        asked || self.grants.len() < before
    }

    /// Whether something is asked of this session.
    fn asks(&self, session: SessionId) -> bool {
        match self.ask {
            Ask::Try { session: by, .. }
            | Ask::Probe { session: by, .. }
            | Ask::Wait { session: by, .. } => by == session,
            Ask::None | Ask::Parked | Ask::InLine { .. } => false,
        }
    }
}
