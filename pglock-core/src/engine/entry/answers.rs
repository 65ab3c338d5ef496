//! What the server answered about a key.

use std::time::Duration;

use super::sharing::Sharing;
use super::{Context, Entry, Hold, Release, Request, Why};
use crate::engine::event::{Effects, HoldId, Outcome, Patience, SessionId};
use crate::engine::queue::Waiter;
use crate::engine::sessions::Op;
use crate::error::Error;
use crate::key::LockKey;
use crate::mode::Mode;

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
            cx.fx.resolve(first.id, Outcome::Busy);
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
            self.renew(cx.now);
        } else {
            self.refused(Why::WriterWaits, |w| Some(w.arrival) <= asked, pause, cx);
        }
        self.settle(cx);
    }

    /// The wait has ended. `failed` is what to tell the caller, unless the wait was cancelled from
    /// here.
    pub(crate) fn waited(
        &mut self,
        session: SessionId,
        failed: Option<&Error>,
        cx: &mut Context<'_>,
    ) {
        let Request::Wait { session: by, mode, cancelled } = self.request else {
            return;
        };
        if by != session {
            return;
        }
        self.request = Request::None;
        match failed {
            None => self.granted(session, mode, cx),
            Some(error) if !cancelled => {
                if let Some(first) = self.queue.pop_front() {
                    cx.fx.fail(first.id, cx.key, error);
                }
            }
            Some(_) => {}
        }
        self.settle(cx);
    }

    pub(super) fn granted(&mut self, session: SessionId, mode: Mode, cx: &mut Context<'_>) {
        *cx.holds += 1;
        self.holds.push(Hold {
            id: HoldId(*cx.holds),
            session,
            mode,
            guards: 0,
            used: mode,
            sharing: Sharing::No,
            release: Release::No,
            confirm: None,
            since: cx.now,
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
                true => cx.fx.resolve(confirm, Outcome::Released),
                false => cx.fx.fail(confirm, cx.key, &Error::lost()),
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

    /// What was asked for came to nothing: tells those who asked, if there is an error, and asks
    /// again for the others.
    pub(crate) fn request_failed(
        &mut self,
        session: SessionId,
        error: Option<&Error>,
        cx: &mut Context<'_>,
    ) {
        let (by, asked) = match self.request {
            Request::Try { session, asked, .. } | Request::Probe { session, asked, .. } => {
                (session, asked)
            }
            Request::Wait { session, .. } => (session, None),
            Request::None | Request::Parked | Request::Slot { .. } => return,
        };
        if by != session {
            return;
        }
        self.request = Request::None;
        while let Some(error) = error
            && let Some(first) = self.queue.pop_front_if(|w| Some(w.arrival) <= asked)
        {
            cx.fx.fail(first.id, cx.key, error);
        }
        self.settle(cx);
    }

    /// The session is gone, and with it what it held and what was asked of it. True if it mattered.
    pub(crate) fn session_ended(
        &mut self,
        session: SessionId,
        fx: &mut Effects,
        key: LockKey,
    ) -> bool {
        let before = self.holds.len();
        self.holds.retain(|hold| {
            let gone = hold.session == session;
            if let (true, Some(confirm)) = (gone, hold.confirm) {
                fx.fail(confirm, key, &Error::lost());
            }
            !gone
        });
        let asked = match self.request {
            Request::Try { session: by, .. }
            | Request::Probe { session: by, .. }
            | Request::Wait { session: by, .. } => by == session,
            Request::None | Request::Parked | Request::Slot { .. } => false,
        };
        if asked {
            self.request = Request::None;
        }
        asked || self.holds.len() < before
    }
}
