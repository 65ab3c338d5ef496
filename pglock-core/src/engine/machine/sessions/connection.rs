//! Connecting: one attempt at a time, with a pause after a failure.

use std::time::Duration;

use super::{Link, Role, Session, Sessions, Timer};
use crate::engine::machine::event::{Effect, Moment, ServerFacts, SessionId};
use crate::engine::machine::step::Step;

impl Sessions {
    pub(super) fn plan(&mut self, role: Role, step: &mut Step<'_>) -> SessionId {
        let id = self.next_id;
        self.next_id = id.next();
        self.table.insert(id, Session::planned(role, step.now));
        self.connect_next(step);
        id
    }

    /// Connects the next planned session, unless another one is being connected or the pause after
    /// a failure is not over.
    pub(crate) fn connect_next(&mut self, step: &mut Step<'_>) {
        if self.table.values().any(|s| s.link() == Link::Opening) {
            return;
        }
        // A shared session comes first: without one, nothing else works.
        let planned = self.table.iter_mut().filter(|(_, s)| s.link() == Link::Planned);
        let Some((id, session)) = planned.min_by_key(|(_, s)| s.role() != Role::Shared) else {
            return;
        };
        if step.now < self.not_before {
            return self.timers.set(Timer::Connect, self.not_before);
        }
        session.connect(step.now);
        step.push(Effect::Open(*id));
    }

    pub(crate) fn note_opened(&mut self, server: ServerFacts) {
        if self.counts.missing > 0 {
            self.counts.missing -= 1;
            self.counts.reconnects += 1;
        }
        self.server = Some(server);
    }

    /// Delays the next attempt to connect. The pause doubles each time, and varies so that
    /// processes do not fall into step.
    pub(crate) fn note_failure(&mut self, now: Moment) {
        let pause = self.config.reconnect_pause * (1 << self.failures.min(4));
        self.failures += 1;
        self.not_before = now + self.jitter(pause);
    }

    /// A random time between half of it and all of it.
    pub(crate) fn jitter(&mut self, pause: Duration) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        part_of(pause, self.random)
    }
}

/// A time between half of it and all of it, from a random number.
pub(crate) fn part_of(time: Duration, random: u64) -> Duration {
    (time / 2).saturating_add(time.mul_f64((random >> 11) as f64 / (1_u64 << 54) as f64))
}
