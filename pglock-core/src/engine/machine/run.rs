//! Tries of several keys in one statement, each of which depends on the one before it.
//!
//! A run is sent as a whole or cut short, and what is cut off is never asked for. So a caller learns
//! in one round trip how many locks it can have in their order, or which of several is free, and
//! nothing else is taken meanwhile. Only keys that this process does not use join a run behind its
//! first try: what becomes of the others does not depend on that try.

use super::Machine;
use super::event::{CallerId, Outcome, Patience, SessionId};
use super::key::queue::Waiter;
use super::sessions::Claims;
use super::step::Step;
use crate::error::Error;
use crate::key::LockKey;
use crate::mode::Mode;

/// What the caller of a run wants of its keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Goal {
    /// As many as are free, in their order: the run goes on while locks are taken.
    All,
    /// One: the run goes on until a lock is taken.
    Any,
}

/// One key of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) caller: CallerId,
    pub(crate) key: LockKey,
    pub(crate) mode: Mode,
}

/// To which run a try belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Run {
    id: u32,
    goal: Goal,
}

/// A run whose tries are being put to a session.
pub(super) struct Gathering {
    run: Run,
    /// The session that all of its tries go to, once there is one.
    session: Option<SessionId>,
}

/// How far the runs of a statement have come.
#[derive(Default)]
pub(super) struct Progress {
    /// The last try that was made, and whether it took the lock.
    last: Option<(Run, bool)>,
}

impl Gathering {
    pub(super) fn run(&self) -> Run {
        self.run
    }

    /// The session for the next try, which must be the `only` one that can make it, if there is
    /// such a one. `None` if the run goes to another session.
    pub(super) fn session(
        &mut self,
        only: Option<SessionId>,
        any: impl FnOnce() -> SessionId,
    ) -> Option<SessionId> {
        let session = *self.session.get_or_insert_with(|| only.unwrap_or_else(any));
        only.is_none_or(|only| only == session).then_some(session)
    }
}

impl Progress {
    /// Whether a try of this run was made. If not, it was left out because of the one before it.
    pub(super) fn was_made(&mut self, run: Run, taken: bool) -> bool {
        let goes_on = match self.last {
            Some((last, was_taken)) if last == run => run.goes_on(was_taken),
            _ => true,
        };
        if goes_on {
            self.last = Some((run, taken));
        }
        goes_on
    }
}

impl Run {
    pub(super) fn goal(self) -> Goal {
        self.goal
    }

    fn goes_on(self, was_taken: bool) -> bool {
        was_taken == (self.goal == Goal::All)
    }
}

impl Machine {
    pub(crate) fn awaits_cap(&self) -> bool {
        self.sessions.awaits_cap()
    }

    pub(super) fn acquire_run(&mut self, members: &[Member], goal: Goal, step: &mut Step<'_>) {
        if goal == Goal::All
            && let Some(error) = self.lacks_room(members)
        {
            members.iter().for_each(|member| step.fail(member.caller, member.key, &error));
            return;
        }
        self.last_run = self.last_run.wrapping_add(1);
        let run = Run { id: self.last_run, goal };
        let mut gathering = Gathering { run, session: None };
        let mut members = members.iter();
        for member in members.by_ref() {
            if !self.join_run(*member, &mut gathering, step) {
                break;
            }
        }
        members.for_each(|member| step.resolve(member.caller, Outcome::Skipped));
    }

    /// Whether the run goes on.
    fn join_run(
        &mut self,
        Member { caller, key, mode }: Member,
        gathering: &mut Gathering,
        step: &mut Step<'_>,
    ) -> bool {
        let run = gathering.run;
        let is_first = gathering.session.is_none();
        if !is_first && let Some(state) = self.keys.get(&key) {
            let is_busy = run.goal == Goal::Any && state.is_blocked_here(mode);
            step.resolve(caller, if is_busy { Outcome::Busy } else { Outcome::Skipped });
            return is_busy;
        }
        let mark = step.mark();
        let waiter = Waiter { in_run: true, ..Waiter::new(caller, mode, Patience::Try) };
        self.enqueue(waiter, key, Some(gathering), step);
        match step.outcome_since(mark, caller) {
            Some(Outcome::Granted { .. }) => run.goes_on(true),
            Some(Outcome::Busy) => run.goes_on(false),
            Some(_) => false,
            // It is asked for, unless it awaits what another caller has asked.
            None => gathering.session.is_some(),
        }
    }

    /// Why the run may not begin, if the locks that it needs do not fit below the cap.
    fn lacks_room(&self, members: &[Member]) -> Option<Error> {
        let is_new = |member: &&Member| {
            let state = self.keys.get(&member.key);
            state.is_none_or(|state| state.claims() == Claims::default())
        };
        let needed = members.iter().filter(is_new).count();
        let room = self.sessions.room();
        (needed > room).then(|| Error::no_room(needed, room))
    }
}
