//! Timers, each of which can be set, moved and stopped.

use std::collections::BTreeSet;

use foldhash::HashMap;

use super::event::{Moment, SessionId};
use crate::key::LockKey;

/// What to do at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Timer {
    /// Try for the key, which is in line for a waiting session.
    Poll(LockKey),
    /// Turn the write lock that readers share into a read lock.
    Convert(LockKey),
    /// Ask once more for the write lock in place of a read lock.
    Upgrade(LockKey),
    /// Repeat a release that the server refused.
    ReleaseAgain(LockKey),
    /// Repeat the cancel of the session's wait, since it may have arrived before the wait.
    CancelAgain(SessionId),
    /// Drop the session, because its wait could not be cancelled.
    CancelTimeout(SessionId),
    /// Connect the next planned session.
    Connect,
    /// Send the session a heartbeat, or drop it.
    Lease(SessionId),
    /// Ask another session whether the server knows of this session's wait.
    Wait(SessionId),
    /// End the session's wait and begin it anew.
    RenewWait(SessionId),
    /// Close the session if it has been idle for long.
    CloseIdle(SessionId),
    /// Publish figures during an outage.
    Report,
    /// Check whether waits must make room for keys in line.
    Rotate,
}

/// The timers that are set.
#[derive(Debug, Default)]
pub(super) struct Timers {
    times: HashMap<Timer, Moment>,
    queue: BTreeSet<(Moment, Timer)>,
}

impl Timers {
    /// Sets the timer, or moves it.
    pub(super) fn set(&mut self, timer: Timer, at: Moment) {
        if let Some(former) = self.times.insert(timer, at) {
            self.queue.remove(&(former, timer));
        }
        self.queue.insert((at, timer));
    }

    /// Sets the timer, unless it is set for an earlier time.
    pub(super) fn set_at_latest(&mut self, timer: Timer, at: Moment) {
        if self.times.get(&timer).is_none_or(|set| at < *set) {
            self.set(timer, at);
        }
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.times.contains_key(&timer)
    }

    pub(super) fn stop(&mut self, timer: Timer) {
        if let Some(at) = self.times.remove(&timer) {
            self.queue.remove(&(at, timer));
        }
    }

    /// When the next timer is due.
    pub(super) fn next(&self) -> Option<Moment> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes the first timer that is due by now.
    pub(super) fn expire(&mut self, now: Moment) -> Option<Timer> {
        let (at, timer) = *self.queue.first()?;
        if at > now {
            return None;
        }
        self.stop(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timers_are_set_moved_and_stopped() {
        let at = |seconds| Moment::after_start(Duration::from_secs(seconds));
        let mut timers = Timers::default();
        timers.set(Timer::Connect, at(3));
        timers.set(Timer::Report, at(2));
        timers.set(Timer::Rotate, at(1));
        timers.set(Timer::Connect, at(1));
        timers.set_at_latest(Timer::Connect, at(4));
        timers.set_at_latest(Timer::Report, at(0));
        timers.stop(Timer::Rotate);
        assert_eq!(timers.next(), Some(at(0)));
        assert_eq!(timers.expire(at(0)), Some(Timer::Report));
        assert_eq!(timers.expire(at(0)), None);
        assert!(timers.is_set(Timer::Connect) && !timers.is_set(Timer::Rotate));
        assert_eq!(timers.expire(at(9)), Some(Timer::Connect));
        assert_eq!(timers.next(), None);
    }
}
