//! One key: who wants it here, what the server has granted, and the one thing asked of the server.

use std::time::Duration;

use super::event::{Effects, HoldId, Moment, Outcome, Patience, SessionId, WaiterId};
use super::limits::WaitStrategy;
use super::queue::{Queue, Waiter};
use super::sessions::{Alarm, Op, Phase, Place, Sessions};
use crate::error::Error;
use crate::key::LockKey;
use crate::mode::Mode;

#[derive(Debug, Default)]
pub(super) struct Entry {
    /// Callers in order of arrival. Only the first one's wish is put to the server.
    pub(super) queue: Queue,
    /// Granted by the server. More than one only for readers: an old hold that drains beside a new one.
    pub(super) holds: Vec<Hold>,
    pub(super) request: Request,
    /// In line for a waiting session.
    place: Option<Place>,
}

#[derive(Debug)]
pub(super) struct Hold {
    pub(super) id: HoldId,
    pub(super) session: SessionId,
    pub(super) mode: Mode,
    pub(super) guards: u32,
    pub(super) release: Release,
    /// Who awaits the server's word that the lock is free.
    pub(super) confirm: Option<WaiterId>,
    since: Moment,
    passes: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Release {
    No,
    /// Not sent yet: the lock may still pass to another caller here.
    Queued,
    Sent,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Request {
    #[default]
    None,
    /// Asks for the lock as it is now. `pause`: this was one of many tries.
    Try { session: SessionId, mode: Mode, asked: Option<u64>, pause: Option<Duration> },
    /// Asks whether a writer elsewhere waits for readers here.
    Probe { session: SessionId, asked: Option<u64>, pause: Option<Duration> },
    /// A waiting session is wanted, to wait in the server's queue, or to probe. Tries at `poll_at` if none is found.
    Slot { poll_at: Moment, pause: Duration, why: Why },
    /// In the server's queue.
    Wait { session: SessionId, mode: Mode, cancelled: bool },
}

/// Why a waiting session is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Why {
    /// Somebody else holds the lock, so that this mode was refused.
    Busy(Mode),
    /// Readers here hold it: does a writer elsewhere wait for them?
    Probe,
    /// Readers here hold it, and a writer elsewhere waits for them.
    WriterWaits,
}

/// What the entry needs from the machine.
pub(super) struct Context<'a> {
    pub(super) key: LockKey,
    pub(super) now: Moment,
    pub(super) sessions: &'a mut Sessions,
    pub(super) holds: &'a mut u64,
    pub(super) fx: &'a mut Effects,
}

impl Entry {
    pub(super) fn is_unused(&self) -> bool {
        self.queue.is_empty() && self.holds.is_empty() && self.request == Request::None
    }

    /// Does everything that can be done now: the only place that grants, releases and asks.
    pub(super) fn settle(&mut self, cx: &mut Context<'_>) {
        loop {
            self.serve(cx);
            self.drain(cx);
            let goes_on = self.ask(cx);
            if !self.refuse_tries(cx.fx) && !goes_on {
                break;
            }
        }
        if !self.wants_waiting() {
            self.leave_line(cx.sessions);
        }
    }

    /// Lets callers at the front have what this process holds already, within the bounds of fairness.
    fn serve(&mut self, cx: &mut Context<'_>) {
        let limits = &cx.sessions.limits;
        while let Some(first) = self.queue.front() {
            let fits = |hold: &&mut Hold| {
                let fresh = hold.passes < limits.hand_over_count
                    && cx.now < hold.since + limits.hand_over_age;
                // While something is asked behind a queued unlock, that unlock must happen.
                let ours = match hold.release {
                    Release::No => true,
                    Release::Queued => self.request == Request::None,
                    Release::Sent => false,
                };
                ours && hold.mode == first.mode
                    && (hold.mode == Mode::Read || hold.guards == 0)
                    && (hold.passes == 0 || fresh)
            };
            let Some(hold) = self.holds.iter_mut().find(fits) else {
                return;
            };
            hold.guards += 1;
            hold.passes += 1;
            // An unlock that is queued all the same is passed over when its turn comes.
            hold.release = Release::No;
            if let Some(confirm) = hold.confirm.take() {
                cx.fx.resolve(confirm, Outcome::Released);
            }
            let outcome = Outcome::Granted { hold: hold.id, session: hold.session };
            cx.fx.resolve(first.id, outcome);
            self.queue.pop_front();
        }
    }

    /// Gives back to the server what nobody here has a use for.
    fn drain(&mut self, cx: &mut Context<'_>) {
        for hold in &mut self.holds {
            if hold.guards == 0 && hold.release == Release::No {
                hold.release = Release::Queued;
                let op = Op::Unlock { key: cx.key, mode: hold.mode, hold: hold.id };
                cx.sessions.push(hold.session, op, cx.fx);
            }
        }
    }

    /// Puts the wish of the first caller to the server. True if it can be served from here after all.
    fn ask(&mut self, cx: &mut Context<'_>) -> bool {
        let first = self.queue.front().map(|waiter| waiter.mode);
        self.take_back(first, cx);
        match first {
            Some(mode) if self.request == Request::None && !self.is_blocked_here(mode) => {
                self.ask_for(mode, cx)
            }
            _ => false,
        }
    }

    /// Takes back a wish that nobody has any more.
    fn take_back(&mut self, first: Option<Mode>, cx: &mut Context<'_>) {
        match (self.request, first) {
            (Request::Wait { session, mode, cancelled: false }, first) if first != Some(mode) => {
                self.cancel_wait(session, cx)
            }
            (Request::Slot { .. }, None) => self.request = Request::None,
            (Request::Slot { why, .. }, Some(mode)) => {
                let holds = match why {
                    // Where no writer is let in, a reader may be.
                    Why::Busy(refused) => refused == mode || refused == Mode::Read,
                    Why::Probe | Why::WriterWaits => self.has_guards(),
                };
                if !holds || self.is_blocked_here(mode) {
                    self.request = Request::None;
                }
            }
            _ => {}
        }
    }

    /// Whether a caller here holds the lock in a conflicting mode.
    fn is_blocked_here(&self, mode: Mode) -> bool {
        self.holds.iter().any(|hold| hold.guards > 0 && !hold.mode.is_compatible_with(mode))
    }

    fn has_guards(&self) -> bool {
        self.holds.iter().any(|hold| hold.guards > 0)
    }

    fn ask_for(&mut self, mode: Mode, cx: &mut Context<'_>) -> bool {
        if self.has_guards() {
            // Readers here hold it, and have for so long that a new one may not simply join them.
            return self.ask_to_join(cx);
        }
        let session = match &self.holds[..] {
            [] => cx.sessions.shared(cx.now, cx.fx),
            // Right behind the unlock, in one statement: whoever waits at the server gets it in between.
            [hold] => hold.session,
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
        self.request = Request::Try { session, mode, asked: None, pause };
        cx.sessions.push(session, Op::Try { key: cx.key, mode }, cx.fx);
    }

    /// A session that holds the key would be let past a writer that waits, so another one has to ask. True if there is none.
    fn ask_to_join(&mut self, cx: &mut Context<'_>) -> bool {
        if self.ask_probe(None, cx) {
            return false;
        }
        if cx.sessions.limits.wait == WaitStrategy::Queue && cx.sessions.may_wait() {
            self.want_slot(Why::Probe, None, cx);
            return false;
        }
        self.renew(cx.now);
        true
    }

    /// True if there is a session that can ask.
    fn ask_probe(&mut self, pause: Option<Duration>, cx: &mut Context<'_>) -> bool {
        let holds_it = |id| self.holds.iter().any(|hold| hold.session == id);
        let session = cx.sessions.for_probe(holds_it);
        if let Some(session) = session {
            self.send_probe(session, pause, cx);
        }
        session.is_some()
    }

    fn send_probe(&mut self, session: SessionId, pause: Option<Duration>, cx: &mut Context<'_>) {
        self.request = Request::Probe { session, asked: None, pause };
        cx.sessions.push(session, Op::Probe { key: cx.key }, cx.fx);
    }

    /// Lets the readers here go on as if they had just been granted the lock.
    fn renew(&mut self, now: Moment) {
        for hold in &mut self.holds {
            hold.since = now;
            hold.passes = 0;
        }
    }

    /// `pause`: the last pause between two tries, unless this is the first.
    fn want_slot(&mut self, why: Why, pause: Option<Duration>, cx: &mut Context<'_>) {
        let first = match cx.sessions.limits.wait {
            WaitStrategy::Queue => cx.sessions.limits.poll_interval,
            WaitStrategy::Poll { interval } => interval,
        };
        let pause = pause.map_or(first, |pause| (pause * 2).min(first * 16));
        if cx.sessions.limits.wait == WaitStrategy::Queue {
            self.place.get_or_insert_with(|| cx.sessions.stand_in_line(cx.key));
            cx.sessions.grow_waiting(cx.now, cx.fx);
        }
        let poll_at = cx.now + cx.sessions.jitter(pause);
        cx.sessions.alarm_at(poll_at, Alarm::Poll(cx.key));
        self.request = Request::Slot { poll_at, pause, why };
    }

    /// Whether a waiting session is wanted, though something else may be asked just now.
    fn wants_waiting(&self) -> bool {
        let wants = match self.request {
            Request::Slot { .. } => true,
            Request::Try { pause, .. } | Request::Probe { pause, .. } => pause.is_some(),
            Request::None | Request::Wait { .. } => false,
        };
        wants && !self.queue.is_empty()
    }

    fn leave_line(&mut self, sessions: &mut Sessions) {
        if let Some(place) = self.place.take() {
            sessions.leave_line(place);
        }
    }

    /// A waiting session is free for this key.
    pub(super) fn take_slot(&mut self, session: SessionId, cx: &mut Context<'_>) {
        let (Request::Slot { why, .. }, Some(first)) = (self.request, self.queue.front()) else {
            return;
        };
        self.place = None;
        if why == Why::Probe {
            self.send_probe(session, None, cx);
        } else {
            let mode = first.mode;
            self.request = Request::Wait { session, mode, cancelled: false };
            cx.sessions.push(session, Op::Lock { key: cx.key, mode }, cx.fx);
        }
    }

    /// No waiting session was free for this key in time.
    pub(super) fn poll(&mut self, at: Moment, cx: &mut Context<'_>) {
        let (Request::Slot { poll_at, pause, why }, Some(first)) =
            (self.request, self.queue.front())
        else {
            return;
        };
        if poll_at != at {
            return;
        }
        match why {
            Why::Busy(_) => {
                let mode = first.mode;
                let session = cx.sessions.shared(cx.now, cx.fx);
                self.ask_try(session, mode, Some(pause), cx);
            }
            Why::Probe | Why::WriterWaits if self.ask_probe(Some(pause), cx) => {}
            // Nobody can be asked. To keep the reader out for want of a session might be a deadlock.
            Why::Probe | Why::WriterWaits => {
                self.request = Request::None;
                self.renew(cx.now);
                self.settle(cx);
            }
        }
    }

    fn cancel_wait(&mut self, session: SessionId, cx: &mut Context<'_>) {
        let Some(waiting) = cx.sessions.get_mut(session) else {
            return;
        };
        if matches!(waiting.phase, Phase::Idle) {
            // It has not been sent.
            waiting.outbox.clear();
            self.request = Request::None;
            return cx.sessions.rest(session, cx.now);
        }
        let runs = matches!(waiting.phase, Phase::Running(_));
        if let Request::Wait { cancelled, .. } = &mut self.request {
            *cancelled = true;
        }
        if runs {
            cx.sessions.cancel(session, cx.now, cx.fx);
        }
    }

    /// Tells callers who would not wait that the lock is busy, once that is known. True if there were any.
    fn refuse_tries(&mut self, fx: &mut Effects) -> bool {
        let Some(first) = self.queue.front() else {
            return false;
        };
        let busy = match self.request {
            Request::None => self.is_blocked_here(first.mode),
            Request::Slot { why, .. } => why != Why::Probe,
            // A wait that is being given up says nothing about the lock.
            Request::Wait { cancelled, .. } => !cancelled,
            Request::Try { .. } | Request::Probe { .. } => false,
        };
        if !busy {
            return false;
        }
        // Those behind one who would not wait either may fare better than that one.
        let only_first = |waiter: &Waiter| waiter.patience == Patience::Try;
        if let Some(first) = self.queue.pop_front_if(only_first) {
            fx.resolve(first.id, Outcome::Busy);
            return true;
        }
        self.queue.take_tries(|waiter| fx.resolve(waiter.id, Outcome::Busy))
    }

    // What the server answered.

    pub(super) fn tried(&mut self, session: SessionId, taken: bool, cx: &mut Context<'_>) {
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
            let refused = |w: &Waiter| w.patience == Patience::Try && same(w);
            while let Some(first) = self.queue.pop_front_if(refused) {
                cx.fx.resolve(first.id, Outcome::Busy);
            }
            if self.queue.front().is_some_and(same) {
                self.want_slot(Why::Busy(mode), pause, cx);
            }
        }
        self.settle(cx);
    }

    pub(super) fn probed(&mut self, session: SessionId, free: bool, cx: &mut Context<'_>) {
        let Request::Probe { session: by, asked, pause } = self.request else {
            return;
        };
        if by != session {
            return;
        }
        self.request = Request::None;
        if free {
            self.renew(cx.now);
        } else if self.queue.front().is_some_and(|w| Some(w.arrival) <= asked) {
            self.want_slot(Why::WriterWaits, pause, cx);
        }
        self.settle(cx);
    }

    /// The wait has ended. `failed` is what to tell the caller, unless the wait was cancelled from here.
    pub(super) fn waited(
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

    fn granted(&mut self, session: SessionId, mode: Mode, cx: &mut Context<'_>) {
        *cx.holds += 1;
        self.holds.push(Hold {
            id: HoldId(*cx.holds),
            session,
            mode,
            guards: 0,
            release: Release::No,
            confirm: None,
            since: cx.now,
            passes: 0,
        });
        if let Some(session) = cx.sessions.get_mut(session) {
            session.held += 1;
        }
    }

    pub(super) fn unlocked(&mut self, id: HoldId, was_held: bool, cx: &mut Context<'_>) {
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
    pub(super) fn unlock_again(&mut self, id: HoldId, cx: &mut Context<'_>) {
        let Some(hold) = self.holds.iter_mut().find(|hold| hold.id == id) else {
            return;
        };
        hold.release = Release::Queued;
        let op = Op::Unlock { key: cx.key, mode: hold.mode, hold: id };
        // What is asked behind the unlock must stay behind it.
        cx.sessions.push_first(hold.session, op);
    }

    /// What was asked for failed: tells those who asked, and goes on with the others.
    pub(super) fn request_failed(
        &mut self,
        session: SessionId,
        error: &Error,
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
        while let Some(first) = self.queue.pop_front_if(|w| Some(w.arrival) <= asked) {
            cx.fx.fail(first.id, cx.key, error);
        }
        self.settle(cx);
    }

    /// The session is gone, and with it what it held and what was asked of it. True if it mattered.
    pub(super) fn session_ended(
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
            Request::None | Request::Slot { .. } => false,
        };
        if asked {
            self.request = Request::None;
        }
        asked || self.holds.len() < before
    }
}
