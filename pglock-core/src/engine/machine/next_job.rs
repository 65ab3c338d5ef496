//! What a session is to do next.

use std::collections::hash_map;

use super::Machine;
use crate::engine::machine::event::{Effects, Job, Moment, SessionId};
use crate::engine::machine::key::Release;
use crate::engine::machine::sessions::{InFlight, Op, Ops, Role};
use crate::engine::machine::step::Step;

impl Machine {
    /// What the session is to do now. The runtime asks when the session is idle and has been
    /// kicked, and after each answer.
    pub(crate) fn poll_job(&mut self, id: SessionId, now: Moment, effects: &mut Effects) -> Job {
        let step = &mut Step::new(now, effects);
        let Some(session) = self.sessions.get_mut(id) else {
            return Job::Close;
        };
        if let Some(job) = session.urgent_job(self.closed.is_some(), step.now) {
            return job;
        }
        let mut ops = self.take_ops(id, step);
        if ops.is_empty() {
            // Free after all, as what was to be done is not wanted any more.
            self.assign_waiting_sessions(step);
            ops = self.take_ops(id, step);
        }
        let last = self.sessions.iter().all(|(_, s)| s.role == Role::Shared);
        let Some(session) = self.sessions.get_mut(id) else {
            return Job::Close;
        };
        if ops.is_empty() && session.acknowledgements.want_answer() {
            ops.push(Op::Ping);
        }
        if ops.is_empty() {
            // Shared sessions go last: waits are cancelled through them.
            if self.closed.is_some()
                && session.outbox.is_empty()
                && (session.role == Role::Waiting || last)
            {
                session.close();
                return Job::Close;
            }
            return Job::Idle;
        }
        let operations = ops.iter().map(|op| op.to_operation()).collect();
        let waits = matches!(ops[..], [Op::Lock { .. }]);
        session.send(InFlight::Operations(ops), step.now);
        if waits {
            self.sessions.watch_wait(id, step.now);
        }
        Job::Run(operations)
    }

    fn take_ops(&mut self, id: SessionId, step: &mut Step<'_>) -> Ops {
        let mut ops = Ops::new();
        let session = self.sessions.get_mut(id);
        let narrowed = session.and_then(|session| session.group_cancels());
        let most = narrowed.unwrap_or(usize::MAX).min(self.sessions.config.batch);
        while ops.len() < most
            && let Some(session) = self.sessions.get_mut(id)
            && let Some(mut op) = session.take_op(&ops)
        {
            if let Op::Lock { .. } = op {
                debug_assert!(
                    session.grants == 0 && ops.is_empty(),
                    "a session waits while it holds nothing"
                );
                ops.push(op);
                break;
            }
            if self.is_wanted(&mut op, step) {
                ops.push(op);
            }
        }
        ops
    }

    /// Whether the operation still makes sense; notes that it is sent.
    fn is_wanted(&mut self, op: &mut Op, step: &mut Step<'_>) -> bool {
        let key = match *op {
            Op::Try { key, .. }
            | Op::Probe { key }
            | Op::Unlock { key, .. }
            | Op::Downgrade { key, .. } => key,
            // The pid of a session that has gone may be another one's by now.
            Op::Cancel { target, .. } => return self.sessions.may_be_cancelled(target, step),
            Op::Lock { .. } | Op::Forget { .. } | Op::Ping => return true,
        };
        let hash_map::Entry::Occupied(mut state) = self.keys.entry(key) else {
            return false;
        };
        if let Op::Downgrade { grant, .. } = *op {
            return state.get_mut().sends_downgrade(grant, key, step.now, &mut self.sessions);
        }
        if let Op::Unlock { grant: id, mode, .. } = op {
            let grant = state.get_mut().grant_mut(*id);
            // It may have passed to another caller here since.
            let Some(grant) = grant.filter(|grant| grant.release == Release::Queued) else {
                return false;
            };
            grant.release = Release::Sent;
            // It may have become a read lock.
            *mode = grant.mode;
            return true;
        }
        if state.get().queue.is_empty() {
            self.with(key, step, |state, _| state.drop_ask());
            return false;
        }
        state.get_mut().note_ask_sent(self.arrivals);
        true
    }
}
