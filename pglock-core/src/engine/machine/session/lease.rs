//! The lease of a session, and the meaning of its silence while it waits for a lock.

use std::time::Duration;

use super::{Errand, Link, Role, Session};
use crate::engine::machine::config::Lease;
use crate::engine::machine::event::Moment;
use crate::key::LockKey;

impl Session {
    /// The lease starts anew from the send time of the last request. Returns its end if guards
    /// should know it.
    pub(crate) fn renew_lease(&mut self, lease: Lease) -> Option<Moment> {
        self.lease_start = self.last_sent;
        // Updating guards after each answer would cost more than it is worth.
        let is_news = |known| self.lease_start >= known + lease.heartbeat / 8;
        if !self.announced_start.is_none_or(is_news) {
            return None;
        }
        self.announced_start = Some(self.lease_start);
        Some(self.lease_start + lease.guard)
    }

    /// Counts the lease from now on. The session has no guards yet.
    pub(crate) fn restart_lease(&mut self, now: Moment) {
        self.lease_start = now;
    }

    /// A session that waits for a lock is silent until the lock is free, and holds nothing.
    pub(crate) fn has_lease(&self) -> bool {
        self.link == Link::Open && self.awaited().is_none()
    }

    pub(crate) fn is_lease_over(&self, lease: Lease, now: Moment) -> bool {
        now >= self.lease_start + lease.guard
    }

    pub(crate) fn next_lease_check(&self, lease: Lease, now: Moment) -> Moment {
        let end = self.lease_start + lease.guard;
        match self.heartbeat_due {
            true => end.min(now + lease.heartbeat),
            false => end.min(self.last_heartbeat + lease.heartbeat).max(now),
        }
    }

    /// Makes the heartbeat its next job if it is time for one. Returns true unless it already was.
    pub(crate) fn wants_heartbeat(&mut self, lease: Lease, now: Moment) -> bool {
        let is_time = now >= self.last_heartbeat + lease.heartbeat && !self.heartbeat_due;
        self.heartbeat_due |= is_time;
        is_time
    }

    /// Makes a heartbeat its next job, unless another question is due.
    pub(crate) fn ask_at_once(&mut self) {
        self.heartbeat_due |= self.outbox.is_empty() && self.inquiries.is_empty();
    }

    /// Whether it has answered a request sent since then.
    pub(crate) fn has_answered_since(&self, since: Moment) -> bool {
        self.is_open() && self.lease_start >= since
    }

    /// Whether the wait has lasted so long that a grant must be confirmed.
    pub(crate) fn is_stale(&self, lease: Lease, now: Moment) -> bool {
        now >= self.last_sent + lease.heartbeat
    }

    /// The key that it waits for.
    pub(crate) fn awaited(&self) -> Option<LockKey> {
        match *self.errands() {
            [Errand::Lock { key, .. }] if self.role == Role::Waiting => Some(key),
            _ => None,
        }
    }

    /// Whether it was waiting for a lock at that time, and had waited that long.
    pub(crate) fn has_waited_for(&self, time: Duration, now: Moment) -> bool {
        self.awaited().is_some() && now >= self.last_sent + time
    }

    /// The key that it waits for, and since when, unless the wait is being given up.
    pub(crate) fn waits_since(&self) -> Option<(LockKey, Moment)> {
        let key = self.awaited().filter(|_| self.cancel_since.is_none())?;
        Some((key, self.last_sent))
    }
}
