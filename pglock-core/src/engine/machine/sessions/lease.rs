//! Leases of sessions: guards count as held until the guard lease has passed since the send time of
//! the last answered request.

use super::{Session, Sessions, Timer};
use crate::engine::machine::event::{Effect, Moment, SessionId};
use crate::engine::machine::step::Step;
use crate::key::LockKey;

impl Sessions {
    /// The session has answered the last request.
    pub(crate) fn note_answer(&mut self, id: SessionId, step: &mut Step<'_>) {
        self.note_success(id, step);
        if let Some(session) = self.table.get_mut(&id) {
            session.acknowledge(step);
        }
        self.renew_lease(id, step);
    }

    /// The last request was a heartbeat, and is answered.
    pub(crate) fn note_heartbeat(&mut self, id: SessionId) {
        let sent = self.table.get(&id).map(Session::last_sent);
        self.heartbeat = self.heartbeat.max(sent);
    }

    /// The lease starts anew from the send time of the last request.
    pub(crate) fn renew_lease(&mut self, id: SessionId, step: &mut Step<'_>) {
        let lease = self.config.lease;
        let Some(session) = self.table.get_mut(&id) else {
            return;
        };
        if let Some(until) = session.renew_lease(lease) {
            step.push(Effect::LeaseRenewed { session: id, until });
        }
        self.watch_lease(id, step.now);
    }

    /// Counts the lease of a session from now on. The session has no guards yet.
    pub(crate) fn restart_lease(&mut self, id: SessionId, now: Moment) {
        if let Some(session) = self.table.get_mut(&id) {
            session.restart_lease(now);
        }
        self.watch_lease(id, now);
    }

    /// Sets the timer for the session's lease, if it is not set.
    pub(crate) fn watch_lease(&mut self, id: SessionId, now: Moment) {
        let lease = self.config.lease;
        let Some(session) = self.table.get(&id).filter(|session| session.has_lease()) else {
            return;
        };
        // The timer is moved when it expires, because moving it at each answer would cost more.
        if !self.timers.is_set(Timer::Lease(id)) {
            self.timers.set(Timer::Lease(id), session.next_lease_check(lease, now));
        }
    }

    /// Sends a heartbeat if it is time for one. Returns true if the lease is over.
    pub(crate) fn lease_is_over(&mut self, id: SessionId, step: &mut Step<'_>) -> bool {
        let lease = self.config.lease;
        let Some(session) = self.table.get_mut(&id) else {
            return false;
        };
        if !session.has_lease() {
            return false;
        }
        if session.is_lease_over(lease, step.now) {
            return true;
        }
        if session.wants_heartbeat(lease, step.now) && session.is_idle() {
            step.push(Effect::Kick(id));
        }
        self.watch_lease(id, step.now);
        false
    }

    /// Sets the timers of a session that begins to wait for a lock. Its silence is normal.
    pub(crate) fn watch_wait(&mut self, id: SessionId, now: Moment) {
        self.rotate_at(now + self.config.turn);
        self.timers.set(Timer::Wait(id), now + self.config.lease.guard);
        if let Some(time) = self.config.wait_renewal {
            let time = self.jitter(time);
            self.timers.set(Timer::RenewWait(id), now + time);
        }
    }

    /// The key for which the session has waited since its timer was set, if any.
    pub(crate) fn wait_to_check(&mut self, id: SessionId, now: Moment) -> Option<LockKey> {
        let key = self.table.get(&id)?.awaited()?;
        self.timers.set(Timer::Wait(id), now + self.config.lease.guard);
        Some(key)
    }

    /// Sessions that wait for a lock and have been silent for longer than a lease: nothing shows
    /// whether they live.
    pub(crate) fn long_silent(&self, now: Moment) -> Vec<SessionId> {
        let silent = |s: &Session| s.has_waited_for(self.config.lease.guard, now);
        self.iter().filter(|(_, session)| silent(session)).map(|(id, _)| id).collect()
    }
}
