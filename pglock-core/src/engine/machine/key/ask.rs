//! What is asked of the server for a key.

use std::time::Duration;

use super::{Ask, Context, KeyState, Why};
use crate::engine::machine::event::{Moment, SessionId};
use crate::engine::machine::sessions::{MOST_TURNS, Op, Sessions, Turn};
use crate::engine::machine::timers::Timer;
use crate::error::Error;
use crate::mode::Mode;

impl KeyState {
    /// True if the caller can be served from here after all, or has been told that it cannot be.
    pub(super) fn ask_for(&mut self, mode: Mode, cx: &mut Context<'_>) -> bool {
        if self.has_guards() {
            // Readers here hold it, and have for so long that a new one may not simply join them.
            // Under a write lock, nobody can be asked: it is about to become a read lock.
            return self.is_shared() && self.ask_to_join(cx);
        }
        let session = match &self.grants[..] {
            [] if cx.sessions.is_full() => {
                if let Some(first) = self.queue.pop_front() {
                    cx.step.fail(first.id, cx.key, &Error::too_many_locks());
                }
                return true;
            }
            [] if cx.sessions.is_at_cap() => {
                self.ask = Ask::Parked;
                cx.sessions.parked.push_back(cx.key);
                return false;
            }
            [] => cx.sessions.shared(&mut cx.step),
            _ if self.is_stuck() => return false,
            // It takes no more: another one asks as soon as the lock has been given back.
            [grant] if cx.sessions.get(grant.session).is_some_and(|s| s.doomed) => return false,
            // Right behind the unlock, in one statement: whoever waits at the server gets it in
            // between.
            [grant] => grant.session,
            // Of several sessions each must have given back its part.
            _ => return false,
        };
        self.ask_try(session, mode, None, cx);
        false
    }

    fn ask_try(
        &mut self,
        session: SessionId,
        mode: Mode,
        pause: Option<Duration>,
        cx: &mut Context<'_>,
    ) {
        self.ask = Ask::Try { session, mode, asked: None, pause };
        cx.sessions.push(session, Op::Try { key: cx.key, mode }, &mut cx.step);
    }

    /// A session that holds the key would be let past a writer that waits, so another one has to
    /// ask. True if there is none.
    fn ask_to_join(&mut self, cx: &mut Context<'_>) -> bool {
        if self.ask_probe(None, cx) {
            return false;
        }
        let may_wait = cx.sessions.waits_in_queue() && cx.sessions.may_wait();
        if may_wait || cx.sessions.may_probe(&mut cx.step) {
            self.line_up(Why::Probe, None, cx);
            return false;
        }
        self.renew(cx.step.now);
        true
    }

    /// True if there is a session that can ask.
    fn ask_probe(&mut self, pause: Option<Duration>, cx: &mut Context<'_>) -> bool {
        let holds_it = |id| self.grants.iter().any(|grant| grant.session == id);
        let session = cx.sessions.for_probe(holds_it);
        if let Some(session) = session {
            self.send_probe(session, pause, cx);
        }
        session.is_some()
    }

    fn send_probe(&mut self, session: SessionId, pause: Option<Duration>, cx: &mut Context<'_>) {
        self.ask = Ask::Probe { session, asked: None, pause };
        cx.sessions.push(session, Op::Probe { key: cx.key }, &mut cx.step);
    }

    /// Lets the readers here go on as if they had just been granted the lock.
    pub(super) fn renew(&mut self, now: Moment) {
        for grant in &mut self.grants {
            grant.since = now;
            grant.passes = 0;
        }
    }

    /// `pause`: the last pause between two tries, unless this is the first.
    pub(super) fn line_up(&mut self, why: Why, pause: Option<Duration>, cx: &mut Context<'_>) {
        let first = cx.sessions.config.first_pause();
        let pause = pause.map_or(first, |pause| (pause * 2).min(first * 16));
        if cx.sessions.waits_in_queue() {
            let turns = self.turns;
            self.place.get_or_insert_with(|| cx.sessions.stand_in_line(cx.key, turns, cx.step.now));
        }
        let poll_at = cx.step.now + cx.sessions.jitter(pause);
        cx.sessions.timers.set(Timer::Poll(cx.key), poll_at);
        self.ask = Ask::InLine { pause, why };
    }

    /// Whether a waiting session is wanted, though something else may be asked just now.
    pub(super) fn wants_waiting(&self) -> bool {
        let wants = match self.ask {
            Ask::InLine { .. } => true,
            Ask::Try { pause, .. } | Ask::Probe { pause, .. } => pause.is_some(),
            Ask::None | Ask::Parked | Ask::Wait { .. } => false,
        };
        wants && !self.queue.is_empty()
    }

    pub(super) fn leave_line(&mut self, sessions: &mut Sessions) {
        if let Some(place) = self.place.take() {
            sessions.leave_line(place);
        }
    }

    /// A waiting session is free for this key.
    pub(crate) fn take_session(&mut self, session: SessionId, cx: &mut Context<'_>) {
        let (Ask::InLine { why, .. }, Some(first)) = (self.ask, self.queue.front()) else {
            return;
        };
        self.place = None;
        if why == Why::Probe {
            self.send_probe(session, None, cx);
        } else {
            let mode = first.mode;
            self.ask = Ask::Wait { session, mode, cancelled: false };
            cx.sessions.push(session, Op::Lock { key: cx.key, mode }, &mut cx.step);
        }
    }

    /// There may be room below the cap now.
    pub(crate) fn unpark(&mut self, cx: &mut Context<'_>) {
        if self.ask == Ask::Parked {
            self.ask = Ask::None;
            self.settle(cx);
        }
    }

    /// No waiting session was free for this key in time.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) {
        let (Ask::InLine { pause, why }, Some(first)) = (self.ask, self.queue.front()) else {
            return;
        };
        match why {
            // The next poll may find room.
            Why::Busy(_) if cx.sessions.is_at_cap() => self.line_up(why, Some(pause), cx),
            Why::Busy(_) => {
                let mode = first.mode;
                let session = cx.sessions.shared(&mut cx.step);
                self.ask_try(session, mode, Some(pause), cx);
            }
            Why::Probe | Why::WriterWaits if self.ask_probe(Some(pause), cx) => {}
            // Connecting may hang.
            Why::Probe | Why::WriterWaits
                if pause < cx.sessions.config.first_pause() * 4
                    && cx.sessions.may_probe(&mut cx.step) =>
            {
                self.line_up(why, Some(pause), cx);
            }
            // Nobody can be asked. To keep the reader out for want of a session might be a
            // deadlock.
            Why::Probe | Why::WriterWaits => {
                self.ask = Ask::None;
                self.renew(cx.step.now);
                self.settle(cx);
            }
        }
    }

    /// Other keys in line want the session: this one goes to their end.
    pub(crate) fn make_room(&mut self, turn: Turn, cx: &mut Context<'_>) {
        let Ask::Wait { session, cancelled: false, .. } = self.ask else {
            return;
        };
        if session == turn.session {
            self.turns = (self.turns + u8::from(turn.is_over)).min(MOST_TURNS);
            self.cancel_wait(session, cx);
        }
    }

    pub(super) fn cancel_wait(&mut self, session: SessionId, cx: &mut Context<'_>) {
        let Some(waiting) = cx.sessions.get_mut(session) else {
            return;
        };
        // It has not been sent: the session may be busy with a question that came before it.
        if waiting.outbox.iter().any(|op| matches!(op, Op::Lock { .. })) {
            waiting.outbox.clear();
            self.ask = Ask::None;
            if waiting.is_idle() {
                cx.sessions.rest(session, cx.step.now);
            }
            return;
        }
        let runs = waiting.is_running();
        if let Ask::Wait { cancelled, .. } = &mut self.ask {
            *cancelled = true;
        }
        if runs {
            cx.sessions.cancel(session, &mut cx.step);
        }
    }
}
