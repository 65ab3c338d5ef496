//! Readers under a write lock: after a downgrade, or where [`Config::share_write_locks`] allows it.
//!
//! A write lock at the server does for the readers of this process as well. So a writer becomes a
//! reader at once, and, with that setting, writers and readers here follow each other without the
//! server. Readers of other processes cannot share it, so it becomes a read lock as soon as no
//! writer here is in line, and at the latest when it would have to be passed on. The
//! [`Conversion`] of such a lock:
//!
//! ```text
//!               a writer here waits              it has gone, or
//!             ┌─────────────────────► ┌─────────┐ the hold is old
//! ┌────┐ ─────┘                       │ Watched │ ───────────────┐
//! │ No │                              └─────────┘                ▼
//! │    │       no writer here waits, or the hold is old     ┌────────┐
//! │    │ ─────────────────────────────────────────────────► │ Queued │
//! │    │ ◄───────────── the readers have gone ───────────── └────────┘
//! │    │                                                         │ in a statement
//! │    │                                        done             ▼
//! │    │ ◄───────────────────────────────────────────────── ┌────────┐
//! │    │                         ┌─────────┐    it failed   │  Sent  │
//! └────┘ ◄───── once more ────── │ Refused │ ◄───────────── └────────┘
//!                                └─────────┘
//! ```

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
    Queued,
    /// The conversion is on its way: this session counts it as a read lock, for others it may still
    /// be a write lock.
    Sent,
    /// The server refused the conversion; a timer repeats it.
    Refused,
}

impl Grant {
    /// Whether it may pass from caller to caller in this process, instead of going to other
    /// processes.
    pub(super) fn is_fresh(&self, config: &Config, now: Moment) -> bool {
        self.passes <= config.hand_over_count && now.since(self.since) < config.hand_over_age
    }

    /// Whether a caller of this process in this mode can have it beside the others.
    pub(super) fn does_for(&self, mode: Mode, config: &Config) -> bool {
        match (self.mode, mode) {
            (Mode::Read, Mode::Read) => true,
            (Mode::Read, Mode::Write) => false,
            (Mode::Write, Mode::Write) => self.guards == 0,
            (Mode::Write, Mode::Read) if self.guards == 0 => config.share_write_locks,
            (Mode::Write, Mode::Read) => self.used == Mode::Read,
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
        let was_sent = self.conversion == Conversion::Sent;
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
    /// Whether readers of other processes will be let in.
    pub(crate) fn is_seen_to(&self) -> bool {
        !self.is_for_readers() || self.conversion != Conversion::No
    }
}

impl KeyState {
    /// A writer has become a reader.
    pub(crate) fn downgrade(&mut self, id: GrantId, cx: &mut Context<'_>) {
        if let Some(grant) = self.grant_mut(id).filter(|grant| grant.guards > 0) {
            grant.used = Mode::Read;
            self.settle(cx);
        }
    }

    /// Lets readers of other processes in where only readers of this one are left.
    pub(super) fn convert(&mut self, cx: &mut Context<'_>) {
        let writers = self.queue.has_writers();
        for grant in self.grants.iter_mut().filter(|grant| grant.is_for_readers()) {
            let stays = grant.stays(writers, &cx.sessions.config, cx.step.now);
            match grant.conversion {
                Conversion::Queued | Conversion::Sent | Conversion::Refused => {}
                Conversion::Watched if stays => {}
                Conversion::No if stays => grant.watch(cx.key, cx.sessions),
                Conversion::No | Conversion::Watched => {
                    grant.conversion = Conversion::Queued;
                    let errand = Errand::Downgrade { key: cx.key, grant: grant.id };
                    cx.sessions.push(grant.session, errand, &mut cx.step);
                }
            }
        }
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

    /// Whether the conversion still makes sense. If so, it counts as sent.
    pub(crate) fn sends_downgrade(
        &mut self,
        id: GrantId,
        key: LockKey,
        now: Moment,
        sessions: &mut Sessions,
    ) -> bool {
        let writers = self.queue.has_writers();
        // An upgrade may have taken the place of an earlier conversion, which is still in line.
        let is_queued = |grant: &&mut Grant| grant.conversion == Conversion::Queued;
        let Some(grant) = self.grant_mut(id).filter(is_queued) else {
            return false;
        };
        grant.conversion = Conversion::No;
        if !grant.is_for_readers() {
            return false;
        }
        if grant.stays(writers, &sessions.config, now) {
            grant.watch(key, sessions);
            return false;
        }
        grant.mode = Mode::Read;
        grant.conversion = Conversion::Sent;
        true
    }

    pub(crate) fn downgraded(&mut self, id: GrantId, cx: &mut Context<'_>) {
        if let Some(grant) = self.grant_mut(id)
            && grant.conversion == Conversion::Sent
        {
            grant.conversion = Conversion::No;
        }
        self.settle(cx);
    }

    /// Whether other processes see readers of this process as readers.
    pub(super) fn is_shared(&self) -> bool {
        self.grants.iter().all(|grant| {
            let is_changing = grant.conversion == Conversion::Sent || grant.upgrade.is_sent();
            grant.mode == Mode::Read && !is_changing
        })
    }

    /// Another operation of the statement may have caused the failure.
    pub(crate) fn downgrade_again(&mut self, id: GrantId, cx: &mut Context<'_>) {
        if let Some(grant) = self.grant_mut(id)
            && grant.conversion == Conversion::Refused
        {
            grant.conversion = Conversion::Queued;
            cx.sessions.push_first(grant.session, Errand::Downgrade { key: cx.key, grant: id });
        }
    }

    /// The server refused the conversion alone: repeats it once at once, and then after growing
    /// pauses.
    pub(crate) fn downgrade_refused(&mut self, id: GrantId, reason: Reason, cx: &mut Context<'_>) {
        let Some(grant) = self.grant_mut(id) else {
            return;
        };
        match grant.pause_after(reason, cx.sessions.config.poll_interval) {
            None => self.downgrade_again(id, cx),
            Some(pause) => {
                cx.sessions.timers.set_at_latest(Timer::Convert(cx.key), cx.step.now + pause);
                self.settle(cx);
            }
        }
    }
}
