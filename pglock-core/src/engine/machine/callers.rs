//! Handles the events of callers and guards: acquire, leave, release, close.

use std::collections::hash_map;

use super::run::Gathering;
use super::{Machine, change};
use crate::engine::machine::event::{CallerId, Effect, GrantId, Patience};
use crate::engine::machine::key::queue::Waiter;
use crate::engine::machine::key::{Context, KeyState};
use crate::engine::machine::sessions::Link;
use crate::engine::machine::step::Step;
use crate::error::Error;
use crate::key::LockKey;
use crate::mode::Mode;

impl Machine {
    pub(super) fn acquire(
        &mut self,
        caller: CallerId,
        key: LockKey,
        mode: Mode,
        patience: Patience,
        step: &mut Step<'_>,
    ) {
        self.enqueue(Waiter::new(caller, mode, patience), key, None, step);
    }

    /// `gathering`: the run that the caller belongs to.
    pub(super) fn enqueue(
        &mut self,
        mut waiter: Waiter,
        key: LockKey,
        gathering: Option<&mut Gathering>,
        step: &mut Step<'_>,
    ) {
        if let Some(why) = &self.closed {
            return step.fail(waiter.id, key, why);
        }
        if self.sessions.queued >= self.sessions.config.max_waiters {
            return step.fail(waiter.id, key, &Error::too_many_waiters());
        }
        self.last_arrival = self.last_arrival.next();
        waiter.arrival = self.last_arrival;
        let state = match self.keys.entry(key) {
            hash_map::Entry::Occupied(state) => state,
            hash_map::Entry::Vacant(place) => {
                place.insert_entry(self.spare.pop().unwrap_or_default())
            }
        };
        let (sessions, last_grant) = (&mut self.sessions, &mut self.last_grant);
        let cx = &mut Context { key, sessions, last_grant, gathering, step: step.part() };
        let would_not_wait = waiter.patience == Patience::Try;
        change(state, cx, &mut self.spare, |state, cx| {
            // Joining the queue behind others cannot unblock anyone.
            if state.queue.push_back(waiter) || would_not_wait {
                state.settle(cx);
            }
        });
    }

    pub(super) fn upgrade(
        &mut self,
        caller: CallerId,
        key: LockKey,
        grant: GrantId,
        patience: Patience,
        step: &mut Step<'_>,
    ) {
        let is_held =
            |state: &KeyState| state.grants.iter().any(|held| held.id == grant && held.guards > 0);
        if !self.keys.get(&key).is_some_and(is_held) {
            let error = self.closed.clone().unwrap_or_else(Error::lost);
            return step.fail(caller, key, &error);
        }
        self.last_arrival = self.last_arrival.next();
        let arrival = self.last_arrival;
        let waiter = Waiter::new(caller, Mode::Write, patience);
        let waiter = Waiter { arrival, upgrades: Some(grant), ..waiter };
        self.with(key, step, |state, cx| {
            state.queue.push_front(waiter);
            state.settle(cx);
        });
    }

    pub(super) fn abandon(&mut self, caller: CallerId, key: LockKey, step: &mut Step<'_>) {
        let mut found = false;
        self.with(key, step, |state, cx| {
            if state.queue.remove(caller).is_some() {
                found = true;
                return state.settle(cx);
            }
            if let Some(grant) = state.grants.iter_mut().find(|h| h.releaser == Some(caller)) {
                found = true;
                grant.releaser = None;
            }
        });
        if !found {
            self.sessions.forget_releaser(caller);
        }
    }

    pub(super) fn release(
        &mut self,
        key: LockKey,
        id: GrantId,
        releaser: Option<CallerId>,
        step: &mut Step<'_>,
    ) {
        if let hash_map::Entry::Occupied(mut state) = self.keys.entry(key)
            && let Some(grant) = state.get_mut().grant_mut(id).filter(|grant| grant.guards > 0)
        {
            grant.guards -= 1;
            if grant.guards == 0 {
                grant.releaser = releaser;
                let (sessions, last_grant) = (&mut self.sessions, &mut self.last_grant);
                let cx =
                    &mut Context { key, sessions, last_grant, gathering: None, step: step.part() };
                change(state, cx, &mut self.spare, KeyState::settle);
            } else {
                if let Some(releaser) = releaser {
                    self.sessions.acknowledge_release(grant.session, releaser, key, step);
                }
                // The last other reader may have left.
                if state.get().queue.upgrades().is_some() {
                    self.with(key, step, KeyState::settle);
                }
            }
        } else if let Some(releaser) = releaser {
            let error = self.closed.clone().unwrap_or_else(Error::lost);
            step.fail(releaser, key, &error);
        }
    }

    pub(super) fn close(&mut self, why: Error, step: &mut Step<'_>) {
        let why = self.closed.get_or_insert(why).clone();
        self.sessions.end_outage();
        for id in self.sessions.ids() {
            let held = self.guarded_by(id);
            if held > 0 {
                step.push(Effect::Lost { session: id, held, error: why.clone() });
            }
        }
        for key in self.sorted_keys() {
            self.with(key, step, |state, cx| {
                while let Some(waiter) = state.queue.pop_front() {
                    cx.step.fail(waiter.id, key, &why);
                }
                for grant in &mut state.grants {
                    grant.guards = 0;
                }
                state.settle(cx);
            });
        }
        for id in self.sessions.ids() {
            if let Some(session) = self.sessions.get_mut(id) {
                Self::fail_inquiries(session.take_inquiries(), &why, step);
            }
            let session = self.sessions.get(id);
            if session.is_some_and(|s| s.link() == Link::Planned) {
                self.ended(id, &why, step);
            }
        }
        self.sessions.kick_all(step);
    }
}
