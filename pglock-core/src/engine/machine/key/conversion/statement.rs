//! What a session does to convert a lock, and what its answers mean.

use super::{Conversion, Due};
use crate::driver::Reason;
use crate::engine::machine::event::{GrantId, Moment};
use crate::engine::machine::key::{Context, KeyState};
use crate::engine::machine::sessions::{Errand, Sessions};
use crate::engine::machine::timers::Timer;
use crate::key::LockKey;
use crate::mode::Mode;

impl KeyState {
    /// What goes out for a conversion whose turn has come: it, a round trip for the readers, or
    /// nothing.
    pub(crate) fn send_downgrade(
        &mut self,
        id: GrantId,
        key: LockKey,
        now: Moment,
        sessions: &mut Sessions,
    ) -> Option<Errand> {
        let writers = self.queue.has_writers();
        let grant = self.grant_mut(id)?;
        // An upgrade may have taken the place of an earlier conversion, which is still in line.
        let Conversion::Queued(due) = grant.conversion else {
            return None;
        };
        grant.conversion = Conversion::No;
        let (config, for_readers) = (&sessions.config, grant.is_for_readers());
        let lingers = match due {
            Due::Later => writers || !for_readers,
            Due::Now => !for_readers,
            Due::Overdue { .. } => false,
        };
        let is_used = grant.guards > 0;
        let is_fresh = grant.is_fresh(config, now);
        if lingers && is_used && !config.share_write_locks && is_fresh {
            grant.conversion = Conversion::Lingering { passes: grant.passes };
            return Some(Errand::Linger { key, grant: id });
        }
        if !for_readers {
            if is_used && matches!(due, Due::Overdue { .. }) {
                grant.conversion = Conversion::Missed;
            }
            return None;
        }
        if grant.stays(writers, &sessions.config, now) {
            grant.watch(key, sessions);
            return None;
        }
        grant.mode = Mode::Read;
        if writers && is_fresh && matches!(due, Due::Overdue { passed: true }) {
            grant.conversion = Conversion::LettingIn;
            return Some(Errand::LetIn { key, grant: id });
        }
        grant.conversion = Conversion::Sent;
        Some(Errand::Downgrade { key, grant: id })
    }

    /// The readers have had a round trip.
    pub(crate) fn lingered(&mut self, id: GrantId, cx: &mut Context<'_>) {
        if let Some(grant) = self.grant_mut(id)
            && let Conversion::Lingering { passes } = grant.conversion
        {
            if grant.is_for_readers() {
                let passed = grant.passes != passes;
                Self::queue_conversion(grant, Due::Overdue { passed }, cx);
            } else {
                let is_used = grant.guards > 0;
                grant.conversion = if is_used { Conversion::Missed } else { Conversion::No };
            }
        }
        self.settle(cx);
    }

    /// Others may have come in. If not, it is a write lock again.
    pub(crate) fn let_others_in(&mut self, id: GrantId, is_writer: bool, cx: &mut Context<'_>) {
        if let Some(grant) = self.grant_mut(id).filter(|_| is_writer) {
            grant.mode = Mode::Write;
        }
        self.downgraded(id, cx);
    }

    pub(crate) fn downgraded(&mut self, id: GrantId, cx: &mut Context<'_>) {
        if let Some(grant) = self.grant_mut(id)
            && grant.conversion.is_sent()
        {
            grant.conversion = Conversion::No;
        }
        self.settle(cx);
    }

    /// If the server `refused` the conversion alone, repeats it once at once, and then after growing
    /// pauses. Otherwise, another operation of the statement caused the failure.
    pub(crate) fn downgrade_failed(
        &mut self,
        id: GrantId,
        refused: Option<Reason>,
        cx: &mut Context<'_>,
    ) {
        let first = cx.sessions.config.poll_interval;
        if let Some(grant) = self.grant_mut(id)
            && grant.conversion == Conversion::Refused
        {
            let pause = refused.and_then(|reason| grant.pause_after(reason, first));
            if grant.guards == 0 {
                // It is released, or passes on.
                grant.conversion = Conversion::No;
            } else if let Some(pause) = pause {
                cx.sessions.timers.set_at_latest(Timer::Convert(cx.key), cx.step.now + pause);
            } else {
                grant.conversion = Conversion::Queued(Due::Now);
                let errand = Errand::Downgrade { key: cx.key, grant: id };
                cx.sessions.push_first(grant.session, errand);
            }
        }
        self.settle(cx);
    }
}
