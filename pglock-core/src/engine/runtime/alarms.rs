//! The tasks that keep time: the manager, and the keeper, which takes over while the runtime of the
//! manager is blocked.

use std::future::pending;
use std::time::Duration;

use tokio::sync::Notify;

use super::Shared;
use crate::engine::machine::event::{Moment, SessionId};

/// When the two tasks wake next unless they are woken earlier; `None` if nothing is due.
#[derive(Clone, Copy, Default)]
pub(super) struct WakeTimes {
    manager: Option<Moment>,
    keeper: Option<Moment>,
}

/// The chores of the manager.
pub(crate) struct Chores {
    pub(crate) open: Vec<SessionId>,
    pub(crate) alarm: Option<Moment>,
    pub(crate) is_finished: bool,
}

/// What a step leaves for the two tasks.
#[derive(Default)]
pub(super) struct Work {
    pub(super) alarm: Option<Moment>,
    pub(super) opens_sessions: bool,
    pub(super) is_finished: bool,
}

impl WakeTimes {
    /// How late the manager is: its runtime is blocked, or the process was stopped.
    pub(super) fn stall(&self, now: Moment) -> Duration {
        self.manager.map_or(Duration::ZERO, |manager| now.since(manager))
    }
}

impl Work {
    /// Whether a task that wakes at this time would miss the alarm.
    fn is_due_before(&self, wake_time: Option<Moment>) -> bool {
        self.alarm.is_some_and(|alarm| wake_time.is_none_or(|wake_time| alarm < wake_time))
    }
}

impl Shared {
    /// Does what is due by now, and returns the chores of the manager.
    pub(crate) fn chores(&self) -> Chores {
        self.locked(|host, now, deferred| {
            let alarm = host.tick(now, deferred, &self.deadlines);
            host.wake_times.manager = alarm;
            let open = std::mem::take(&mut host.to_open);
            Chores { open, alarm, is_finished: host.is_finished() }
        })
    }

    /// Does what is due by now, for a manager whose runtime may be blocked. Returns the next alarm,
    /// or `None` once the machine is closed.
    pub(crate) fn keeper_tick(&self) -> Option<Option<Moment>> {
        self.locked(|host, now, deferred| {
            let alarm = host.tick(now, deferred, &self.deadlines);
            host.wake_times.keeper = alarm;
            (!host.is_finished()).then_some(alarm)
        })
    }

    /// A caller has set a deadline, which may be the earliest alarm.
    pub(super) fn deadline_was_set(&self, at: Moment) {
        let wake_times = self.lock().wake_times;
        self.wake_tasks(&Work { alarm: Some(at), ..Work::default() }, wake_times);
    }

    /// Wakes the tasks that have work before they would wake on their own.
    pub(super) fn wake_tasks(&self, work: &Work, wake_times: WakeTimes) {
        let Work { opens_sessions, is_finished, .. } = *work;
        if opens_sessions || is_finished || work.is_due_before(wake_times.manager) {
            self.manager.notify_one();
        }
        if let Some(keeper) = &self.keeper
            && (is_finished || work.is_due_before(wake_times.keeper))
        {
            keeper.notify_one();
        }
    }

    /// Completes when the manager may have other chores.
    pub(crate) async fn manager_called(&self, alarm: Option<Moment>) {
        self.notified(&self.manager, alarm).await;
    }

    /// Completes when the keeper must check again.
    pub(crate) async fn keeper_called(&self, alarm: Option<Moment>) {
        match &self.keeper {
            Some(keeper) => self.notified(keeper, alarm).await,
            None => pending().await,
        }
    }

    async fn notified(&self, notify: &Notify, alarm: Option<Moment>) {
        let notified = notify.notified();
        match alarm {
            Some(at) => {
                // In both cases, the task checks again.
                let _ = tokio::time::timeout_at(self.clock.instant(at), notified).await;
            }
            None => notified.await,
        }
    }
}
