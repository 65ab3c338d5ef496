//! One key: who wants it here, what the server has granted, and the one thing asked of the server.

mod ask;
pub(super) mod conversion;
mod grant;
pub(super) mod queue;

use std::time::Duration;

use self::conversion::Conversion;
use self::queue::{Queue, Waiter};
use super::event::{GrantId, Moment, Outcome, Patience, SessionId, WaiterId};
use super::sessions::{Claims, Op, Place, Sessions};
use super::step::Step;
use crate::key::LockKey;
use crate::mode::Mode;

#[derive(Debug, Default)]
pub(super) struct KeyState {
    /// Callers in order of arrival. Only the first one's wish is put to the server.
    pub(super) queue: Queue,
    /// Granted by the server. More than one only for readers: an old grant that drains beside a new
    /// one.
    pub(super) grants: Vec<Grant>,
    pub(super) ask: Ask,
    /// In line for a waiting session.
    place: Option<Place>,
    /// How often what was asked for was refused for a reason that is not known.
    refusals: u8,
    /// How many turns in a waiting session were in vain since it was granted last.
    pub(super) turns: u8,
}

#[derive(Debug)]
pub(super) struct Grant {
    pub(super) id: GrantId,
    pub(super) session: SessionId,
    /// As the server has it.
    pub(super) mode: Mode,
    pub(super) guards: u32,
    /// As the guards have it.
    used: Mode,
    conversion: Conversion,
    pub(super) release: Release,
    /// How often the server refused to take it back or to share it.
    refusals: u8,
    /// Who awaits the server's word that the lock is free.
    pub(super) releaser: Option<WaiterId>,
    since: Moment,
    passes: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Release {
    No,
    /// Not sent yet: the lock may still pass to another caller here.
    Queued,
    Sent,
    /// The server refused to take it back; a timer makes it try once more.
    Refused,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Ask {
    #[default]
    None,
    /// Asks for the lock when there is room below the cap.
    Parked,
    /// Asks for the lock as it is now. `pause`: this was one of many tries.
    Try { session: SessionId, mode: Mode, asked: Option<u64>, pause: Option<Duration> },
    /// Asks whether a writer elsewhere waits for readers here.
    Probe { session: SessionId, asked: Option<u64>, pause: Option<Duration> },
    /// A waiting session is wanted, to wait in the server's queue, or to probe. Its timer
    /// makes it try if none is found in time.
    InLine { pause: Duration, why: Why },
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
    pub(super) sessions: &'a mut Sessions,
    pub(super) last_grant: &'a mut u64,
    pub(super) step: Step<'a>,
}

impl KeyState {
    pub(super) fn is_unused(&self) -> bool {
        self.queue.is_empty() && self.grants.is_empty() && self.ask == Ask::None
    }

    pub(super) fn grant_mut(&mut self, id: GrantId) -> Option<&mut Grant> {
        self.grants.iter_mut().find(|grant| grant.id == id)
    }

    /// Whether it is worth keeping for another key once it is unused.
    pub(super) fn is_small(&self) -> bool {
        self.queue.is_small()
    }

    /// Locks at the server that this key has, or asks for.
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

    /// Does everything that can be done now: the only place that grants, releases and asks.
    pub(super) fn settle(&mut self, cx: &mut Context<'_>) {
        loop {
            self.serve(cx);
            self.drain(cx);
            self.convert(cx);
            let goes_on = self.ask_server(cx);
            if !self.refuse_tries(&mut cx.step) && !goes_on {
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

    /// Lets callers at the front have what this process holds already, within the bounds of
    /// fairness.
    fn serve(&mut self, cx: &mut Context<'_>) {
        while let Some(first) = self.queue.front() {
            let config = &cx.sessions.config;
            let fits = |grant: &&mut Grant| {
                // While something is asked behind a queued unlock, that unlock must happen.
                let ours = match grant.release {
                    Release::No => true,
                    Release::Queued | Release::Refused => self.ask == Ask::None,
                    Release::Sent => false,
                };
                ours && grant.does_for(first.mode, config)
                    && (grant.passes == 0 || grant.is_fresh(config, cx.step.now))
            };
            let Some(grant) = self.grants.iter_mut().find(fits) else {
                return;
            };
            let counts = &mut cx.sessions.counts;
            counts.grants += 1;
            counts.hand_overs += u64::from(grant.passes > 0 || grant.guards > 0);
            grant.guards += 1;
            grant.used = first.mode;
            grant.passes += 1;
            // An unlock that is queued all the same is passed over when its turn comes.
            grant.release = Release::No;
            if let Some(releaser) = grant.releaser.take() {
                cx.sessions.acknowledge_release(grant.session, releaser, cx.key, &mut cx.step);
            }
            let outcome = Outcome::Granted { grant: grant.id, session: grant.session };
            cx.step.resolve(first.id, outcome);
            self.queue.pop_front();
        }
    }

    /// Gives back to the server what nobody here has a use for.
    fn drain(&mut self, cx: &mut Context<'_>) {
        for grant in &mut self.grants {
            if grant.guards == 0 && grant.release == Release::No {
                grant.release = Release::Queued;
                let op = Op::Unlock { key: cx.key, mode: grant.mode, grant: grant.id };
                cx.sessions.push(grant.session, op, &mut cx.step);
            }
        }
    }

    /// Puts the wish of the first caller to the server. True if it can be served from here after
    /// all.
    fn ask_server(&mut self, cx: &mut Context<'_>) -> bool {
        let first = self.queue.front().map(|waiter| waiter.mode);
        self.take_back(first, cx);
        match first {
            Some(mode) if self.ask == Ask::None && !self.is_blocked_here(mode) => {
                self.ask_for(mode, cx)
            }
            _ => false,
        }
    }

    /// Takes back a wish that nobody has any more.
    fn take_back(&mut self, first: Option<Mode>, cx: &mut Context<'_>) {
        match (self.ask, first) {
            (Ask::Wait { session, mode, cancelled: false }, first) if first != Some(mode) => {
                self.cancel_wait(session, cx)
            }
            (Ask::InLine { .. } | Ask::Parked, None) => self.ask = Ask::None,
            (Ask::InLine { why, .. }, Some(mode)) => {
                let still_fits = match why {
                    // Where no writer is let in, a reader may be.
                    Why::Busy(refused) => refused == mode || refused == Mode::Read,
                    Why::Probe | Why::WriterWaits => self.has_guards(),
                };
                if !still_fits || self.is_blocked_here(mode) {
                    self.ask = Ask::None;
                }
            }
            _ => {}
        }
    }

    /// Whether a caller here holds the lock in a conflicting mode.
    fn is_blocked_here(&self, mode: Mode) -> bool {
        self.grants.iter().any(|grant| grant.guards > 0 && !grant.used.is_compatible_with(mode))
    }

    /// Whether the server does not take back what nobody here has a use for, or does not let other
    /// readers in.
    fn is_stuck(&self) -> bool {
        let is_stuck = |grant: &Grant| {
            grant.release == Release::Refused || grant.conversion == Conversion::Refused
        };
        self.grants.iter().any(is_stuck)
    }

    fn has_guards(&self) -> bool {
        self.grants.iter().any(|grant| grant.guards > 0)
    }

    /// Whether somebody has the lock who is in the way of the first caller: one here, or one whom
    /// it waits for in the server's queue.
    pub(super) fn waits_behind_a_holder(&self) -> bool {
        matches!(self.ask, Ask::Wait { .. })
            || self.queue.front().is_some_and(|first| self.is_blocked_here(first.mode))
    }

    /// Whether the lock was not free when the server was asked last.
    pub(super) fn was_refused(&self) -> bool {
        matches!(self.ask, Ask::InLine { why: Why::Busy(_) | Why::WriterWaits, .. })
    }

    /// Tells callers who would not wait that the lock is busy, once that is known. True if there
    /// were any.
    fn refuse_tries(&mut self, step: &mut Step<'_>) -> bool {
        let Some(first) = self.queue.front() else {
            return false;
        };
        let busy = match self.ask {
            Ask::None => self.is_blocked_here(first.mode) || self.is_stuck(),
            Ask::InLine { why, .. } => why != Why::Probe,
            // A wait that is being given up says nothing about the lock.
            Ask::Wait { cancelled, .. } => !cancelled,
            Ask::Parked | Ask::Try { .. } | Ask::Probe { .. } => false,
        };
        if !busy {
            return false;
        }
        // Those behind one who would not wait either may fare better than that one.
        let only_first = |waiter: &Waiter| waiter.patience == Patience::Try;
        if let Some(first) = self.queue.pop_front_if(only_first) {
            step.resolve(first.id, Outcome::Busy);
            return true;
        }
        self.queue.take_tries(|waiter| step.resolve(waiter.id, Outcome::Busy))
    }
}
