//! Runs: what becomes of a try depends on the one before it.

use crate::engine::machine::event::Event;
use crate::engine::machine::event::{CallerId, Outcome, Patience};
use crate::engine::machine::run::{Goal, Member};
use crate::engine::machine::tests::model::world::World;
use crate::key::LockKey;
use crate::mode::Mode;

#[derive(Debug)]
pub(crate) struct Run {
    goal: Goal,
    members: Vec<(CallerId, Fate)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Open,
    Taken,
    NotTaken,
    /// The caller has left.
    Gone,
}

impl World {
    /// Tries these locks as a run.
    pub(crate) fn acquire_run(&mut self, wanted: &[(LockKey, Mode)], goal: Goal) -> Vec<CallerId> {
        let mut members = Vec::new();
        for (key, mode) in wanted {
            let waiter = self.new_caller();
            self.reference.acquire(waiter, *key, *mode, Patience::Try);
            members.push(Member { caller: waiter, key: *key, mode: *mode });
        }
        let waiters: Vec<_> = members.iter().map(|member| member.caller).collect();
        let open = waiters.iter().map(|waiter| (*waiter, Fate::Open)).collect();
        self.runs.push(Run { goal, members: open });
        self.note_contention();
        self.step(Event::AcquireRun { members, goal });
        waiters
    }

    /// How many locks a caller wants at once.
    pub(super) fn run_of(&self, waiter: CallerId) -> usize {
        let has = |run: &&Run| run.members.iter().any(|(member, _)| *member == waiter);
        self.runs.iter().find(has).map_or(1, |run| run.members.len())
    }

    pub(super) fn leave_run(&mut self, waiter: CallerId) {
        for run in &mut self.runs {
            run.note(waiter, Fate::Gone);
        }
    }

    pub(super) fn check_run(&mut self, waiter: CallerId, outcome: &Outcome) {
        let fate = match outcome {
            Outcome::Granted { .. } => Fate::Taken,
            _ => Fate::NotTaken,
        };
        // What was done of a refused statement, and what is sent again, may not depend on each other.
        let is_excused = self.faulty || self.has_strays || !self.refused.is_empty();
        let mut is_in_run = false;
        for run in &mut self.runs {
            is_in_run |= run.note(waiter, fate);
            assert!(is_excused || run.is_in_order(), "{run:?}");
        }
        let skipped = matches!(outcome, Outcome::Skipped);
        assert!(is_in_run || !skipped, "only tries of a run are left out");
        self.runs.retain(|run| run.members.iter().any(|(_, fate)| *fate == Fate::Open));
    }
}

impl Run {
    fn note(&mut self, waiter: CallerId, fate: Fate) -> bool {
        let member = self.members.iter_mut().find(|(member, _)| *member == waiter);
        member.map(|member| member.1 = fate).is_some()
    }

    fn is_in_order(&self) -> bool {
        let fates = self.members.iter().map(|(_, fate)| *fate);
        let taken = fates.clone().filter(|fate| *fate == Fate::Taken);
        match self.goal {
            Goal::Any => taken.count() <= 1,
            Goal::All => {
                let mut behind = fates.skip_while(|fate| matches!(fate, Fate::Taken | Fate::Gone));
                behind.all(|fate| fate != Fate::Taken)
            }
        }
    }
}
