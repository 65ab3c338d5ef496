//! Readers under a write lock: after a downgrade, or behind a writer of this process.
//!
//! A write lock at the server does for the readers of this process as well. So a writer becomes a
//! reader at once, and when a writer leaves, the readers behind it have its lock at once. Readers of
//! other processes cannot share it, so the next statement turns it into a read lock. If a writer
//! here is in line, the readers first get one round trip to leave the lock to it. With
//! [`Config::share_write_locks`], they may keep it until no writer here is in line, or until it would
//! have to be passed on. The [`Conversion`] of such a lock:
//!
//! ```text
//!  readers have it ┌────────┐ no writer here is in line            ┌──────┐ done
//! ───────────────► │ Queued │ ───────────────────────────────────► │ Sent │ ─────► No
//!                  └────────┘                                      └──────┘
//!        a writer here │           readers have had it all the time    ▲
//!          is in line, ▼        ┌──────────────────────────────────────┘
//!        or has it ┌───────────┐┘  readers have it again         ┌───────────┐ done
//!                  │ Lingering │ ──────────────────────────────► │ LettingIn │ ─────► No
//!                  └───────────┘                                 └───────────┘
//!          no caller │  │ a writer has it ┌────────┐ it leaves: the lock leaves this process
//!           has it   ▼  └───────────────► │ Missed │ ─────► No
//!                    No                   └────────┘
//! ```
//!
//! While it lingers, the lock may pass from readers to writers and back. After that, readers of other
//! processes come in:
//!
//! * Readers that stay get a read lock.
//! * Readers that have come and gone in one round trip will soon leave again. So the statement lets
//!   in those that wait, and then takes the write lock back if there were none.
//! * A writer is the last one, and an unused lock goes back to the server.
//!
//! Where the lock may be shared for longer, it is `Watched` before it is `Queued`. If the server
//! refuses to convert a lock that readers have, it is `Refused` until a timer queues it again.

mod statement;

use std::time::Duration;

use super::{Context, Grant, KeyState, Release};
use crate::driver::Reason;
use crate::engine::machine::config::Config;
use crate::engine::machine::event::{GrantId, Moment};
use crate::engine::machine::sessions::{Errand, Sessions};
use crate::engine::machine::timers::Timer;
use crate::key::LockKey;
use crate::mode::Mode;

/// The state of a write lock that readers use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Conversion {
    /// No conversion is needed, or it is done.
    No,
    /// A writer of this process waits for the readers; a timer converts the lock in any case.
    Watched,
    /// A conversion to a read lock is queued.
    Queued(Due),
    /// A writer of this process waits for the readers, which have one round trip: that of a statement
    /// which is on its way. The lock had passed on this often when it was sent.
    Lingering { passes: u32 },
    /// The conversion is on its way: this session counts it as a read lock, for others it may still
    /// be a write lock.
    Sent,
    /// The same, but it becomes a write lock again if no others come in. If its guards leave
    /// meanwhile, the answer decides what happens to it.
    LettingIn,
    /// The server refused the conversion; a timer repeats it.
    Refused,
    /// When the round trip was over, a writer of this process had the lock. It is the last one here.
    Missed,
}

/// When a queued conversion goes out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    /// With its turn, or a round trip later if a writer here waits.
    Later,
    /// With its turn, unless a writer here has got the lock by then.
    Now,
    /// With its turn: the round trip is over. If the lock passed on meanwhile, its readers leave
    /// soon, and it becomes a write lock again as soon as others have come in.
    Overdue { passed: bool },
}

impl Conversion {
    /// Whether the session may have either lock.
    pub(super) fn is_sent(self) -> bool {
        matches!(self, Self::Sent | Self::LettingIn)
    }
}

impl Grant {
    /// Whether it may pass from caller to caller in this process, instead of going to other
    /// processes.
    pub(super) fn is_fresh(&self, config: &Config, now: Moment) -> bool {
        self.may_pass
            && self.conversion != Conversion::Missed
            && self.passes <= config.hand_over_count
            && now.since(self.since) < config.hand_over_age
    }

    /// Whether a caller of this process in this mode can have it beside the others.
    pub(super) fn does_for(&self, mode: Mode) -> bool {
        match (self.mode, mode) {
            (Mode::Read, Mode::Read) => true,
            (Mode::Read, Mode::Write) => false,
            (Mode::Write, Mode::Write) => self.guards == 0,
            (Mode::Write, Mode::Read) => self.guards == 0 || self.used == Mode::Read,
        }
    }

    /// Whether it stays a write lock for now: writers of this process are in line, and it may pass
    /// to them.
    fn stays(&self, writers: bool, config: &Config, now: Moment) -> bool {
        config.share_write_locks && writers && self.is_fresh(config, now)
    }

    fn watch(&mut self, key: LockKey, sessions: &mut Sessions) {
        self.conversion = Conversion::Watched;
        let at = self.since + sessions.config.hand_over_age;
        sessions.timers.set_at_latest(Timer::Convert(key), at);
    }

    /// The server refused an operation on this grant alone. Returns how long to wait before
    /// repeating it; `None` means at once.
    pub(super) fn pause_after(&mut self, reason: Reason, first: Duration) -> Option<Duration> {
        if reason == Reason::Cancelled {
            return None;
        }
        self.refusals = self.refusals.saturating_add(1);
        let pauses = self.refusals.checked_sub(2)?;
        Some(first * (1 << pauses.min(8)))
    }

    /// The statement that was to convert it has failed, so it is still a write lock. Returns false
    /// if there was none.
    pub(crate) fn was_not_downgraded(&mut self) -> bool {
        let was_sent = self.conversion.is_sent();
        if was_sent {
            self.mode = Mode::Write;
            self.conversion = Conversion::Refused;
        }
        was_sent
    }

    /// Whether only readers use it, which other processes cannot see.
    fn is_for_readers(&self) -> bool {
        self.mode == Mode::Write
            && self.guards > 0
            && self.used == Mode::Read
            && self.release == Release::No
    }
}

#[cfg(test)]
impl Grant {
    /// Whether readers of other processes will be let in; later, if the lock may be shared here.
    pub(crate) fn is_seen_to(&self, shares: bool) -> bool {
        !self.is_for_readers()
            || match self.conversion {
                Conversion::No | Conversion::Missed => false,
                Conversion::Watched => shares,
                _ => true,
            }
    }
}

impl KeyState {
    /// A writer has become a reader, who may have the lock for long: it does not linger.
    pub(crate) fn downgrade(&mut self, id: GrantId, cx: &mut Context<'_>) {
        let writers = self.queue.has_writers();
        let Some(grant) = self.grant_mut(id).filter(|grant| grant.guards > 0) else {
            return;
        };
        grant.used = Mode::Read;
        let stays = grant.stays(writers, &cx.sessions.config, cx.step.now);
        match grant.conversion {
            Conversion::No | Conversion::Missed if grant.is_for_readers() && !stays => {
                Self::queue_conversion(grant, Due::Now, cx);
            }
            Conversion::Queued(Due::Later) => grant.conversion = Conversion::Queued(Due::Now),
            _ => {}
        }
        self.settle(cx);
    }

    /// Lets readers of other processes in where only readers of this one are left.
    pub(super) fn convert(&mut self, cx: &mut Context<'_>) {
        let writers = self.queue.has_writers();
        for grant in self.grants.iter_mut().filter(|grant| grant.is_for_readers()) {
            let stays = grant.stays(writers, &cx.sessions.config, cx.step.now);
            match grant.conversion {
                Conversion::Queued(_)
                | Conversion::Lingering { .. }
                | Conversion::Sent
                | Conversion::LettingIn
                | Conversion::Refused => {}
                Conversion::Watched if stays => {}
                Conversion::No if stays => grant.watch(cx.key, cx.sessions),
                Conversion::No | Conversion::Watched | Conversion::Missed => {
                    Self::queue_conversion(grant, Due::Later, cx);
                }
            }
        }
    }

    fn queue_conversion(grant: &mut Grant, due: Due, cx: &mut Context<'_>) {
        grant.conversion = Conversion::Queued(due);
        let errand = Errand::Downgrade { key: cx.key, grant: grant.id };
        cx.sessions.push(grant.session, errand, &mut cx.step);
    }

    /// The readers of this process have had the lock to themselves for long enough.
    pub(crate) fn convert_at_last(&mut self, cx: &mut Context<'_>) {
        for grant in &mut self.grants {
            if matches!(grant.conversion, Conversion::Watched | Conversion::Refused) {
                grant.conversion = Conversion::No;
            }
        }
        self.settle(cx);
    }

    /// Whether an answer shows soon if a lock that is unused here may go on passing.
    pub(super) fn is_letting_in(&self) -> bool {
        self.grants.iter().any(|grant| grant.conversion == Conversion::LettingIn)
    }

    /// Whether other processes see readers of this process as readers.
    pub(super) fn is_shared(&self) -> bool {
        self.grants.iter().all(|grant| {
            let is_changing = grant.conversion.is_sent() || grant.upgrade.is_sent();
            grant.mode == Mode::Read && !is_changing
        })
    }
}
