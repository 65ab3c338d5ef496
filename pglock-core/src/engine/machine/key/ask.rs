//! The pending request of a key, an [`Ask`]. A key has at most one at a time.
//!
//! ```text
//!        a caller wants what is not held here, and the cap on locks may be reached
//!              ┌──────┐ ───────────────────────────────────────► ┌────────┐
//!              │ None │ ◄─────── there is room, or there is none │ Parked │
//!              │      │                                          └────────┘
//!              │      │   a caller wants what is not held here
//!              │      │ ───────────────────────────────────────► ┌────────┐
//!              │      │ ◄────────────────── taken: a grant ───── │  Try   │
//!              └──────┘ ◄── refused, no caller waits: Busy ───── └────────┘
//!               │    ▲ ▲                                          │   ▲
//!  readers here │    │ │ no caller asks now                 busy, │   │ poll: no waiting
//!  hold it, and │    │ └────────────────────────────┐    a caller │   │ session came free
//!  have long    │    │ free: the readers here       │       waits ▼   │
//!               ▼    │ are renewed                ┌───────────────────────┐
//!             ┌───────┐ ── a writer elsewhere ──► │        InLine         │
//!             │ Probe │    waits (WriterWaits)    │ Busy │ Probe │        │
//!             └───────┘ ◄── a session can ask ─── │          WriterWaits  │
//!                                                 └───────────────────────┘
//!              ┌──────┐                                   │ a waiting session is free
//!              │ None │ ◄── granted: a grant ───── ┌───────────────────────┐
//!              │      │ ◄── failed: an error ──── │         Wait          │ ─┐ the caller left, or
//!              │      │ ◄── read to its end ───── │                       │ ◄┘ other keys in line:
//!              └──────┘ ◄── not confirmed, or ─── └───────────────────────┘    cancelled
//!                           an operator's cancel
//! ```
//!
//! `InLine` means that the key needs a waiting session or, where waits cannot be cancelled, the
//! next poll: because the lock is busy, because no other session can make a probe, or because a
//! writer of another process waits. When a session ends, its `Try`, `Probe` or `Wait` goes back to
//! `None`, and the key asks again for what callers still want. A cancelled `Wait` goes back to
//! `InLine` if the caller still wants it, because it only made room.
//!
//! [`answer`] handles the server's answers, [`line`] the keys in line.

mod answer;
mod line;

use std::time::Duration;

use super::{Context, KeyState};
use crate::engine::machine::event::{Arrival, Moment, Outcome, SessionId};
use crate::engine::machine::run::Run;
use crate::engine::machine::sessions::{Errand, Session};
use crate::error::Error;
use crate::mode::Mode;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::engine::machine) enum Ask {
    #[default]
    None,
    /// The request waits for room below the cap.
    Parked,
    /// Asks for the lock as it is now. `sent_after`: the last caller that had arrived when it was
    /// sent. `pause`: set if this is one of several tries.
    Try { session: SessionId, mode: Mode, sent_after: Option<Arrival>, pause: Option<Duration> },
    /// Asks whether a writer of another process waits for the readers of this one.
    Probe { session: SessionId, sent_after: Option<Arrival>, pause: Option<Duration> },
    /// Needs a waiting session, to wait in the server's queue or to probe. Its timer makes the key
    /// try if no session is free in time.
    InLine { pause: Duration, why: Why },
    /// Waits in the server's queue.
    Wait { session: SessionId, mode: Mode, cancelled: bool },
}

/// Why a key needs a waiting session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::engine::machine) enum Why {
    /// The lock is held elsewhere, so the server refused this mode.
    Busy(Mode),
    /// Readers of this process hold it: does a writer of another process wait for them?
    Probe,
    /// Readers of this process hold it, and a writer of another process waits for them.
    WriterWaits,
    /// A reader here waits to become the writer: meanwhile, no other reader is to come.
    Upgrade,
}

/// The outcome of asking for what the first caller wants.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asking {
    /// There is nothing left to ask.
    Done,
    /// The caller can be served without the server after all, or was refused: settle the key again.
    Again,
}

impl KeyState {
    /// Asks the server for what the first caller wants, and withdraws requests that no caller wants
    /// any more.
    pub(super) fn ask_server(&mut self, cx: &mut Context<'_>) -> Asking {
        let first = self.queue.front().map(|waiter| waiter.mode);
        self.take_back(first, cx);
        match first {
            Some(_) if let Some(grant) = self.queue.upgrades() => {
                self.ask_upgrade(grant, cx);
                Asking::Done
            }
            Some(mode) if self.ask == Ask::None && !self.is_blocked_here(mode) => {
                self.ask_for(mode, cx)
            }
            _ => Asking::Done,
        }
    }

    /// Withdraws what the first caller does not want.
    fn take_back(&mut self, first: Option<Mode>, cx: &mut Context<'_>) {
        match (self.ask, first) {
            (Ask::Wait { session, mode, cancelled: false }, first) if first != Some(mode) => {
                self.cancel_wait(session, cx)
            }
            (Ask::InLine { .. } | Ask::Parked, None) => self.ask = Ask::None,
            (Ask::InLine { why, .. }, Some(mode)) => {
                let still_fits = match why {
                    // A mode that admits no writer may still admit a reader.
                    Why::Busy(refused) => refused == mode || refused == Mode::Read,
                    Why::Probe | Why::WriterWaits => self.has_guards(),
                    Why::Upgrade => self.queue.upgrades().is_some(),
                };
                if !still_fits || why != Why::Upgrade && self.is_blocked_here(mode) {
                    self.ask = Ask::None;
                }
            }
            _ => {}
        }
    }

    fn ask_for(&mut self, mode: Mode, cx: &mut Context<'_>) -> Asking {
        let in_run = self.queue.front().is_some_and(|first| first.in_run);
        if in_run && cx.gathering.is_none() {
            return self.leave_out(cx);
        }
        if self.has_guards() {
            // Readers of this process have held it so long that a new one may not simply join.
            // Under a write lock, no session can probe, but it is about to become a read lock.
            return match self.is_shared() {
                true => self.ask_to_join(cx),
                false => Asking::Done,
            };
        }
        if self.is_letting_in() {
            return Asking::Done;
        }
        let only = match &self.grants[..] {
            [] if cx.sessions.is_full() => {
                if let Some(first) = self.queue.pop_front() {
                    cx.step.fail(first.id, cx.key, &Error::too_many_locks());
                }
                return Asking::Again;
            }
            [] if in_run && cx.sessions.is_at_cap() => return self.leave_out(cx),
            [] if cx.sessions.is_at_cap() => {
                self.ask = Ask::Parked;
                cx.sessions.parked.push_back(cx.key);
                return Asking::Done;
            }
            [] => None,
            _ if self.is_stuck() => return Asking::Done,
            // That session takes no more locks. Once it has released its lock, another one asks.
            [grant] if cx.sessions.get(grant.session).is_some_and(Session::is_doomed) => {
                return Asking::Done;
            }
            // Right behind the unlock, in the same statement: the first waiter in the server's
            // queue gets the lock in between.
            [grant] => Some(grant.session),
            // If several sessions hold it, each must release its lock first.
            _ => return Asking::Done,
        };
        let Context { sessions, gathering, step, .. } = cx;
        let any = || sessions.shared(step);
        let (session, run) = match gathering.as_mut().filter(|_| in_run) {
            None => (only.unwrap_or_else(any), None),
            Some(gathering) => match gathering.session(only, any) {
                Some(session) => (session, Some(gathering.run())),
                None => return self.leave_out(cx),
            },
        };
        self.ask_try(session, mode, run, None, cx);
        Asking::Done
    }

    fn ask_try(
        &mut self,
        session: SessionId,
        mode: Mode,
        run: Option<Run>,
        pause: Option<Duration>,
        cx: &mut Context<'_>,
    ) {
        self.ask = Ask::Try { session, mode, sent_after: None, pause };
        cx.sessions.push(session, Errand::TryLock { key: cx.key, mode, run }, &mut cx.step);
    }

    /// The first caller belongs to a run that cannot go on to it.
    fn leave_out(&mut self, cx: &mut Context<'_>) -> Asking {
        if let Some(first) = self.queue.pop_front() {
            cx.step.resolve(first.id, Outcome::Skipped);
        }
        Asking::Again
    }

    /// The server would let a session that holds the key past a waiting writer, so another session
    /// has to ask. If there is none, the caller may join the holders.
    fn ask_to_join(&mut self, cx: &mut Context<'_>) -> Asking {
        if let Some(session) = self.session_to_probe(cx) {
            self.send_probe(session, None, cx);
            return Asking::Done;
        }
        let may_wait = cx.sessions.waits_in_queue() && cx.sessions.may_wait();
        if may_wait || cx.sessions.may_probe(&mut cx.step) {
            self.line_up(Why::Probe, None, cx);
            return Asking::Done;
        }
        self.renew(cx.step.now);
        Asking::Again
    }

    fn session_to_probe(&self, cx: &Context<'_>) -> Option<SessionId> {
        let holds_it = |id| self.grants.iter().any(|grant| grant.session == id);
        cx.sessions.for_probe(holds_it)
    }

    fn send_probe(&mut self, session: SessionId, pause: Option<Duration>, cx: &mut Context<'_>) {
        self.ask = Ask::Probe { session, sent_after: None, pause };
        cx.sessions.push(session, Errand::Probe { key: cx.key }, &mut cx.step);
    }

    /// Treats the lock as if it had just been granted to the readers of this process.
    pub(super) fn renew(&mut self, now: Moment) {
        for grant in &mut self.grants {
            grant.since = now;
            grant.passes = 0;
        }
    }

    /// There may now be room below the cap.
    pub(crate) fn unpark(&mut self, cx: &mut Context<'_>) {
        if self.ask == Ask::Parked {
            self.ask = Ask::None;
            self.settle(cx);
        }
    }

    /// The request is about to be sent.
    pub(in crate::engine::machine) fn note_ask_sent(&mut self, last: Arrival) {
        if let Ask::Try { sent_after, .. } | Ask::Probe { sent_after, .. } = &mut self.ask {
            *sent_after = Some(last);
        }
    }

    /// The request was about to be sent, but no caller wants it any more.
    pub(in crate::engine::machine) fn drop_ask(&mut self) {
        self.ask = Ask::None;
    }

    /// Withdraws a try of this session, because the unlock in front of it has failed.
    pub(super) fn withdraw_try(&mut self, session: SessionId, cx: &mut Context<'_>) {
        if matches!(self.ask, Ask::Try { session: by, .. } if by == session) {
            cx.sessions.withdraw(session, cx.key);
            self.ask = Ask::None;
        }
    }
}
