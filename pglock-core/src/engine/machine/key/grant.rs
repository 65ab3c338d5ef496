//! The locks that the server has granted for a key, and how they are released.
//!
//! The [`Release`] of a [`Grant`]:
//!
//! ```text
//!             last guard gone                  in a statement             the server says so
//! Release::No ────────────────► Release::Queued ──────────────► Release::Sent ──────────────► gone
//!      ▲                              │ ▲                             │
//!      └── the next caller here ──────┘ └───── it failed: once more ──┘
//! ```
//!
//! If it fails again, alone in its statement, it is `Refused` until a timer makes it `No`.

use super::conversion::Conversion;
use super::upgrade::Upgrade;
use super::{Ask, Context, KeyState};
use crate::engine::machine::event::{CallerId, GrantId, Moment, Outcome, Refusal, SessionId};
use crate::engine::machine::sessions::Errand;
use crate::engine::machine::timers::Timer;
use crate::error::Error;
use crate::mode::Mode;

#[derive(Debug)]
pub(in crate::engine::machine) struct Grant {
    pub(in crate::engine::machine) id: GrantId,
    pub(in crate::engine::machine) session: SessionId,
    /// The mode at the server.
    pub(in crate::engine::machine) mode: Mode,
    pub(in crate::engine::machine) guards: u32,
    /// The mode in which guards use it.
    pub(in crate::engine::machine) used: Mode,
    pub(in crate::engine::machine) conversion: Conversion,
    pub(in crate::engine::machine) upgrade: Upgrade,
    pub(in crate::engine::machine) release: Release,
    /// How often the server refused to release or convert it.
    pub(in crate::engine::machine) refusals: u8,
    /// The caller that waits for the server to confirm the release.
    pub(in crate::engine::machine) releaser: Option<CallerId>,
    pub(in crate::engine::machine) since: Moment,
    pub(in crate::engine::machine) passes: u32,
    /// Whether it may pass from caller to caller at all.
    pub(in crate::engine::machine) may_pass: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::engine::machine) enum Release {
    No,
    /// Not sent yet: the lock may still pass to another caller of this process.
    Queued,
    Sent,
    /// The server refused the release; a timer repeats it.
    Refused,
}

impl KeyState {
    /// Gives callers at the front what this process already holds, within the bounds of fairness.
    pub(super) fn serve(&mut self, cx: &mut Context<'_>) {
        while let Some(first) = self.queue.front() {
            if let Some(grant) = first.upgrades {
                match self.serve_upgrade(grant, cx) {
                    true => continue,
                    false => return,
                }
            }
            // A session that waited for an upgrade may get the lock of a session that has ended: while
            // the guards there count as held, they exclude the callers here.
            if self.is_blocked_here(first.mode) {
                return;
            }
            let config = &cx.sessions.config;
            let fits = |grant: &&mut Grant| {
                // A request queued behind an unlock relies on that unlock.
                let ours = match grant.release {
                    Release::No => true,
                    Release::Queued | Release::Refused => self.ask == Ask::None,
                    Release::Sent => false,
                };
                ours && grant.does_for(first.mode)
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
            // An unlock that is still queued is skipped when its turn comes.
            grant.release = Release::No;
            if let Some(releaser) = grant.releaser.take() {
                cx.sessions.acknowledge_release(grant.session, releaser, cx.key, &mut cx.step);
            }
            let outcome = Outcome::Granted { grant: grant.id, session: grant.session };
            cx.step.resolve(first.id, outcome);
            self.queue.pop_front();
        }
    }

    /// The guards that have the lock are the last ones here.
    pub(crate) fn end_hand_overs(&mut self, id: GrantId) {
        if let Some(grant) = self.grant_mut(id) {
            grant.may_pass = false;
            // A probe may have renewed the lock while its guards were readers.
            grant.passes = grant.passes.max(1);
        }
    }

    /// Releases the locks that no caller of this process uses.
    pub(super) fn release_unused(&mut self, cx: &mut Context<'_>) {
        for grant in &mut self.grants {
            let is_unused = grant.guards == 0 && grant.conversion != Conversion::LettingIn;
            if is_unused && grant.release == Release::No {
                grant.release = Release::Queued;
                let errand = Errand::Unlock { key: cx.key, mode: grant.mode, grant: grant.id };
                cx.sessions.push(grant.session, errand, &mut cx.step);
            }
        }
    }

    pub(super) fn granted(&mut self, session: SessionId, mode: Mode, cx: &mut Context<'_>) {
        self.refusals = 0;
        *cx.last_grant = cx.last_grant.next();
        self.turns = 0;
        self.grants.push(Grant {
            id: *cx.last_grant,
            session,
            mode,
            guards: 0,
            used: mode,
            conversion: Conversion::No,
            upgrade: Upgrade::No,
            release: Release::No,
            refusals: 0,
            releaser: None,
            since: cx.step.now,
            passes: 0,
            may_pass: true,
        });
        if let Some(session) = cx.sessions.get_mut(session) {
            session.gain_grant();
        }
    }

    pub(crate) fn unlocked(&mut self, id: GrantId, was_held: bool, cx: &mut Context<'_>) {
        let Some(at) = self.grants.iter().position(|grant| grant.id == id) else {
            return;
        };
        let grant = self.grants.swap_remove(at);
        if let Some(session) = cx.sessions.get_mut(grant.session) {
            session.lose_grant();
        }
        if let Some(releaser) = grant.releaser {
            match was_held {
                true => cx.step.resolve(releaser, Outcome::Released),
                false => cx.step.fail(releaser, cx.key, &Error::lost()),
            }
        }
        self.settle(cx);
    }

    /// The unlock failed: sends it again.
    pub(crate) fn unlock_again(&mut self, id: GrantId, cx: &mut Context<'_>) {
        let Some(grant) = self.grant_mut(id) else {
            return;
        };
        grant.release = Release::Queued;
        let errand = Errand::Unlock { key: cx.key, mode: grant.mode, grant: id };
        // A request behind the unlock must stay behind it.
        cx.sessions.push_first(grant.session, errand);
    }

    /// The server refused the unlock alone: repeats it once at once, and then after growing pauses,
    /// in which callers of this process may have the lock.
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
        // Without the unlock, the server would grant the request behind it at once.
        self.withdraw_try(session, cx);
        cx.sessions.timers.set_at_latest(Timer::ReleaseAgain(cx.key), cx.step.now + pause);
        self.settle(cx);
    }

    /// Repeats releases that the server refused.
    pub(crate) fn release_again(&mut self, cx: &mut Context<'_>) {
        for grant in self.grants.iter_mut().filter(|grant| grant.release == Release::Refused) {
            grant.release = Release::No;
        }
        self.settle(cx);
    }
}
