//! Keys in line for a waiting session, and their waits in the server's queue.

use std::time::Duration;

use super::{Ask, Why};
use crate::engine::machine::event::SessionId;
use crate::engine::machine::key::{Context, KeyState};
use crate::engine::machine::sessions::{Errand, MOST_TURNS, Sessions, Turn};
use crate::engine::machine::timers::Timer;

impl KeyState {
    /// `pause`: the previous pause between two tries; `None` for the first.
    pub(in crate::engine::machine::key) fn line_up(
        &mut self,
        why: Why,
        pause: Option<Duration>,
        cx: &mut Context<'_>,
    ) {
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

    /// Whether the key needs a waiting session, even if it is just trying or probing.
    pub(in crate::engine::machine::key) fn wants_waiting(&self) -> bool {
        let wants = match self.ask {
            Ask::InLine { .. } => true,
            Ask::Try { pause, .. } | Ask::Probe { pause, .. } => pause.is_some(),
            Ask::None | Ask::Parked | Ask::Wait { .. } => false,
        };
        wants && !self.queue.is_empty()
    }

    pub(in crate::engine::machine::key) fn leave_line(&mut self, sessions: &mut Sessions) {
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
            cx.sessions.push(session, Errand::Lock { key: cx.key, mode }, &mut cx.step);
        }
    }

    /// No waiting session was free for this key in time.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) {
        let (Ask::InLine { pause, why }, Some(first)) = (self.ask, self.queue.front()) else {
            return;
        };
        let by_probe = match why {
            Why::Busy(_) | Why::Upgrade => None,
            Why::Probe | Why::WriterWaits => self.session_to_probe(cx),
        };
        match why {
            // The session that has the read lock asks.
            Why::Upgrade => self.line_up(why, Some(pause), cx),
            // There may be room at the next poll.
            Why::Busy(_) if cx.sessions.is_at_cap() => self.line_up(why, Some(pause), cx),
            Why::Busy(_) => {
                let mode = first.mode;
                let session = cx.sessions.shared(&mut cx.step);
                self.ask_try(session, mode, None, Some(pause), cx);
            }
            _ if let Some(session) = by_probe => self.send_probe(session, Some(pause), cx),
            // Connecting may hang, so this ends after some pauses.
            Why::Probe | Why::WriterWaits
                if pause < cx.sessions.config.first_pause() * 4
                    && cx.sessions.may_probe(&mut cx.step) =>
            {
                self.line_up(why, Some(pause), cx);
            }
            // No session can ask. To keep the reader waiting for a session could be a deadlock.
            Why::Probe | Why::WriterWaits => {
                self.ask = Ask::None;
                self.renew(cx.step.now);
                self.settle(cx);
            }
        }
    }

    /// Other keys in line need the session: this key goes to the end of the line.
    pub(crate) fn make_room(&mut self, turn: Turn, cx: &mut Context<'_>) {
        let Ask::Wait { session, cancelled: false, .. } = self.ask else {
            return;
        };
        if session == turn.session {
            self.turns = (self.turns + u8::from(turn.is_over)).min(MOST_TURNS);
            self.cancel_wait(session, cx);
        }
    }

    /// The wait has lasted long. It is cancelled, and the key waits anew.
    pub(crate) fn renew_wait(&mut self, session: SessionId, cx: &mut Context<'_>) {
        if matches!(self.ask, Ask::Wait { session: by, cancelled: false, .. } if by == session) {
            self.cancel_wait(session, cx);
        }
    }

    pub(super) fn cancel_wait(&mut self, session: SessionId, cx: &mut Context<'_>) {
        let Some(waiting) = cx.sessions.get_mut(session) else {
            return;
        };
        if waiting.withdraw_wait() {
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
