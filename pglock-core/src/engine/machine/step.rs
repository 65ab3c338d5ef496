//! One step of the machine: its time, and its effects.

use super::event::{CallerId, Effect, Effects, Moment, Outcome};
use crate::error::Error;
use crate::key::LockKey;

/// What every transition needs in addition to the state that it changes.
pub(super) struct Step<'a> {
    pub(super) now: Moment,
    effects: &'a mut Effects,
}

impl<'a> Step<'a> {
    pub(super) fn new(now: Moment, effects: &'a mut Effects) -> Self {
        Self { now, effects }
    }

    /// The same step, for a part of it.
    pub(super) fn part(&mut self) -> Step<'_> {
        Step { now: self.now, effects: self.effects }
    }

    pub(super) fn push(&mut self, effect: Effect) {
        self.effects.0.push(effect);
    }

    pub(super) fn resolve(&mut self, caller: CallerId, outcome: Outcome) {
        self.push(Effect::Resolve { caller, outcome });
    }

    /// Where the effects are now, for [`outcome_since`](Self::outcome_since).
    pub(super) fn mark(&self) -> usize {
        self.effects.0.len()
    }

    pub(super) fn outcome_since(&self, mark: usize, caller: CallerId) -> Option<&Outcome> {
        self.effects.0[mark..].iter().find_map(|effect| match effect {
            Effect::Resolve { caller: resolved, outcome } if *resolved == caller => Some(outcome),
            _ => None,
        })
    }

    pub(super) fn fail(&mut self, caller: CallerId, key: LockKey, error: &Error) {
        self.resolve(caller, Outcome::Failed(error.clone().for_key(key)));
    }
}
