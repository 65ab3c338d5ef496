//! Chooses the next job of a session.

use std::collections::hash_map;

use super::Machine;
use crate::engine::machine::event::{Effects, Job, Moment, SessionId};
use crate::engine::machine::key::Release;
use crate::engine::machine::run::Run;
use crate::engine::machine::sessions::{Errand, Errands, InFlight, Role};
use crate::engine::machine::step::Step;

impl Machine {
    /// The next job of the session. The runtime asks when the session is idle and has been kicked,
    /// and after each answer.
    pub(crate) fn poll_job(&mut self, id: SessionId, now: Moment, effects: &mut Effects) -> Job {
        let step = &mut Step::new(now, effects);
        let most = self.sessions.config.batch;
        let Some(session) = self.sessions.get_mut(id) else {
            return Job::Close;
        };
        if let Some(job) = session.urgent_job(self.closed.is_some(), most, step.now) {
            if matches!(job, Job::Close) && self.closed.is_none() {
                self.sessions.note_closing(step.now);
            }
            return job;
        }
        let mut errands = self.take_errands(id, step);
        if errands.is_empty() {
            // The session is idle after all, because nothing queued is wanted any more.
            self.assign_waiting_sessions(step);
            errands = self.take_errands(id, step);
        }
        let last = self.sessions.iter().all(|(_, s)| s.role() == Role::Shared);
        let Some(session) = self.sessions.get_mut(id) else {
            return Job::Close;
        };
        if errands.is_empty() && session.wants_acknowledgement() {
            errands.push(Errand::Ping);
        }
        if errands.is_empty() {
            // Shared sessions close last, since waits are cancelled through them.
            if self.closed.is_some()
                && session.queued() == 0
                && (session.role() == Role::Waiting || last)
            {
                session.close();
                return Job::Close;
            }
            return Job::Idle;
        }
        let operations = Errand::to_operations(&errands);
        let waits = matches!(errands[..], [Errand::Lock { .. }]);
        session.send(InFlight::Errands(errands), step.now);
        if waits {
            self.sessions.watch_wait(id, step.now);
        }
        Job::Run(operations)
    }

    fn take_errands(&mut self, id: SessionId, step: &mut Step<'_>) -> Errands {
        let mut errands = Errands::new();
        let session = self.sessions.get_mut(id);
        let narrowed = session.and_then(|session| session.group_cancels());
        let most = narrowed.unwrap_or(usize::MAX).min(self.sessions.config.batch);
        while errands.len() < most
            && let Some(session) = self.sessions.get_mut(id)
            && let Some(mut errand) = session.take_errand(&errands)
        {
            if let Errand::Lock { .. } = errand {
                debug_assert!(
                    session.grants() == 0 && errands.is_empty(),
                    "a session waits while it holds nothing"
                );
                errands.push(errand);
                break;
            }
            if self.is_wanted(&mut errand, step) {
                errands.push(errand);
            }
        }
        self.cut_run(id, errands.last().and_then(Errand::run), step);
        errands
    }

    /// Leaves out the tries of a run that do not fit into its statement: they would not depend on
    /// it.
    fn cut_run(&mut self, id: SessionId, run: Option<Run>, step: &mut Step<'_>) {
        let Some(run) = run else {
            return;
        };
        while let Some(session) = self.sessions.get_mut(id)
            && let Some(key) = session.take_try_of(run)
        {
            self.with(key, step, |state, cx| state.ask_missed(id, cx));
        }
    }

    /// Whether the operation still makes sense. If so, records that it is sent.
    fn is_wanted(&mut self, errand: &mut Errand, step: &mut Step<'_>) -> bool {
        let key = match *errand {
            Errand::TryLock { key, .. }
            | Errand::Probe { key }
            | Errand::Unlock { key, .. }
            | Errand::Downgrade { key, .. }
            | Errand::Upgrade { key, .. } => key,
            // After a session has ended, its pid may belong to another one.
            Errand::Cancel { target, .. } => return self.sessions.may_be_cancelled(target, step),
            Errand::Lock { .. }
            | Errand::Forget { .. }
            | Errand::LetIn { .. }
            | Errand::Linger { .. }
            | Errand::Ping => return true,
        };
        let hash_map::Entry::Occupied(mut state) = self.keys.entry(key) else {
            return false;
        };
        if let Errand::Downgrade { grant, .. } = *errand {
            let sent = state.get_mut().send_downgrade(grant, key, step.now, &mut self.sessions);
            *errand = sent.unwrap_or(*errand);
            return sent.is_some();
        }
        if let Errand::Upgrade { grant, .. } = *errand {
            return state.get_mut().sends_upgrade(grant);
        }
        if let Errand::Unlock { grant: id, mode, .. } = errand {
            let grant = state.get_mut().grant_mut(*id);
            // The lock may have passed to another caller of this process since.
            let Some(grant) = grant.filter(|grant| grant.release == Release::Queued) else {
                return false;
            };
            grant.release = Release::Sent;
            // The lock may have become a read lock.
            *mode = grant.mode;
            return true;
        }
        if state.get().queue.is_empty() {
            self.with(key, step, |state, _| state.drop_ask());
            return false;
        }
        state.get_mut().note_ask_sent(self.last_arrival);
        true
    }
}
