//! One move of one session: of its task in the runtime, or of its server session.

use std::collections::BTreeSet;

use super::link::{Link, Stage};
use super::server::Pid;
use super::world::World;
use crate::driver::{Answer, Operation, Reason};
use crate::engine::machine::event::{Effects, Event, Job, Refusal, ServerFacts, SessionId};
use crate::error::{Error, ErrorKind};
use crate::mode::Mode;

impl World {
    /// The sessions that can make a move.
    pub(crate) fn movable(&self) -> Vec<SessionId> {
        let can_move = |link: &Link| match link.stage {
            Stage::Idle => link.kicked,
            Stage::Waiting => !self.server.is_waiting(link.pid),
            Stage::Silent => false,
            _ => true,
        };
        let links = self.links.iter().filter(|(_, link)| can_move(link));
        links.map(|(id, _)| *id).collect()
    }

    /// Makes one move of one session. With `luck`, a cancel hits what it can hit.
    pub(crate) fn turn(&mut self, id: SessionId, luck: bool) {
        self.tick();
        let link = self.links.get_mut(&id).expect("only what is there moves");
        match std::mem::replace(&mut link.stage, Stage::Idle) {
            Stage::Connecting => {
                link.heard = self.now;
                let server = self.facts(id);
                self.step(Event::Opened { session: id, server });
                self.ask_next(id);
            }
            Stage::Idle => {
                link.kicked = false;
                self.ask_next(id);
            }
            Stage::Sent(operations) => self.run(id, &operations, luck),
            Stage::SentHoldings => {
                link.heard = self.now;
                link.stage = Stage::Found(self.server.holdings(link.pid));
            }
            Stage::SentLook => {
                link.heard = self.now;
                link.stage = Stage::Seen(self.server.rows());
            }
            Stage::SentToken => {
                let pid = link.pid;
                link.heard = self.now;
                link.stage = Stage::Minted(self.server.token());
                self.check_proofs(id, pid);
            }
            Stage::Minted(token) => {
                self.step(Event::Minted { session: id, token: Some(token) });
                self.ask_next(id);
            }
            Stage::Seen(locks) => {
                self.step(Event::Inspected { session: id, locks });
                self.ask_next(id);
            }
            Stage::Found(holdings) => {
                self.step(Event::Found { session: id, holdings: Some(holdings) });
                self.ask_next(id);
            }
            Stage::Waiting => self.answer(id, [true].into_iter().collect()),
            Stage::Answer(answer) => self.answer(id, answer),
            Stage::Refusal(reason) => {
                self.statements[0] += 1;
                let refusal = Refusal { error: refusal(), reason };
                self.step(Event::Refused { session: id, refusal });
                self.ask_next(id);
            }
            Stage::Closing => {
                self.server.end(link.pid);
                self.end(id);
            }
            Stage::Silent => link.stage = Stage::Silent,
            Stage::Broken => self.end(id),
        }
    }

    fn run(&mut self, id: SessionId, operations: &[Operation], luck: bool) {
        let pid = self.links[&id].pid;
        self.check_proofs(id, pid);
        let link = self.links.get_mut(&id).expect("only what is there moves");
        link.heard = self.now;
        link.stage = Stage::Broken;
        let stage = self.execute(pid, operations, luck);
        self.links.get_mut(&id).expect("it was there").stage = stage;
    }

    /// What the session learns about its server.
    fn facts(&self, id: SessionId) -> ServerFacts {
        ServerFacts {
            pid: self.links[&id].pid,
            has_lease: Some(true),
            can_cancel: self.may_cancel,
            timeline: self.timeline,
            ..ServerFacts::default()
        }
    }

    fn answer(&mut self, id: SessionId, answer: Answer) {
        self.statements[1] += 1;
        self.step(Event::Answered { session: id, answer });
        self.ask_next(id);
    }

    fn end(&mut self, id: SessionId) {
        let error = Error::new(ErrorKind::Connection, "the connection has ended");
        self.step(Event::Ended { session: id, error });
        self.links.remove(&id);
        self.check();
    }

    fn ask_next(&mut self, id: SessionId) {
        let mut fx = Effects::default();
        let job = self.machine.poll_job(id, self.now, &mut fx);
        for effect in fx.0 {
            self.carry_out(effect, &BTreeSet::new());
        }
        let pid = self.links[&id].pid;
        if let Job::Run(operations) = &job {
            self.check_request(pid, operations);
            self.sent.extend(operations.iter().map(|operation| (id, *operation)));
            self.note_statement(id);
        }
        let link = self.links.get_mut(&id).expect("it was there");
        link.stage = match job {
            Job::Run(operations) => Stage::Sent(operations.into_vec()),
            Job::Holdings => Stage::SentHoldings,
            Job::Inspect(_) => Stage::SentLook,
            Job::Token => Stage::SentToken,
            Job::Idle => Stage::Idle,
            Job::Close => Stage::Closing,
        };
        self.check();
    }

    pub(super) fn execute(&mut self, pid: Pid, operations: &[Operation], luck: bool) -> Stage {
        let (mut results, mut taken) = (Vec::new(), false);
        for operation in operations {
            if let Some(reason) = self.refuses(*operation) {
                return Stage::Refusal(reason);
            }
            let Some(operation) = operation.in_run(taken) else {
                results.push(false);
                continue;
            };
            let done = match operation {
                Operation::TryLock(key, mode) => {
                    taken = self.server.try_lock(pid, key, mode);
                    taken
                }
                Operation::TryFirst(..) | Operation::TryAlso(..) | Operation::TryInstead(..) => {
                    unreachable!("it is a plain try by now")
                }
                Operation::Unlock(key, mode) => self.server.unlock(pid, key, mode),
                Operation::Lock(key, mode) => {
                    self.server.lock(pid, key, mode);
                    return Stage::Waiting;
                }
                Operation::Probe(key) => {
                    let free = self.server.try_lock(pid, key, Mode::Read);
                    free && self.server.unlock(pid, key, Mode::Read)
                }
                Operation::Downgrade(key) => self.server.downgrade(pid, key),
                Operation::LetIn(key) => self.server.let_in(pid, key, luck),
                Operation::Upgrade(key) => self.server.upgrade(pid, key),
                Operation::Cancel(target) => self.cancel(target, luck),
                Operation::UnlockAll => {
                    self.server.unlock_all(pid);
                    true
                }
                Operation::Ping | Operation::LimitWait(_) => true,
            };
            results.push(done);
        }
        Stage::Answer(results.into_iter().collect())
    }

    /// Why the server refuses this operation, if it does.
    pub(super) fn refuses(&self, operation: Operation) -> Option<Reason> {
        let key = match operation {
            Operation::TryLock(key, _)
            | Operation::TryFirst(key, _)
            | Operation::TryAlso(key, _)
            | Operation::TryInstead(key, _)
            | Operation::Unlock(key, _)
            | Operation::Lock(key, _)
            | Operation::Probe(key)
            | Operation::Downgrade(key)
            | Operation::LetIn(key)
            | Operation::Upgrade(key) => key,
            Operation::Cancel(_) => return (!self.may_cancel).then_some(Reason::Itself),
            Operation::UnlockAll | Operation::Ping | Operation::LimitWait(_) => return None,
        };
        self.refuses.filter(|(refused, _)| *refused == key).map(|(_, reason)| reason)
    }

    /// Cancels what the server session is doing. That must be a wait that no caller wants any more.
    fn cancel(&mut self, pid: Pid, luck: bool) -> bool {
        let Some((id, link)) = self.links.iter_mut().find(|(_, link)| link.pid == pid) else {
            self.server.leave_queue(pid);
            return false;
        };
        let session = self.machine.sessions.get(*id);
        let meant = session.is_none_or(|s| s.is_doomed() || s.is_given_up());
        let is_doomed = session.is_none_or(|s| s.is_doomed());
        match &link.stage {
            Stage::Sent(operations) if matches!(operations[..], [Operation::Lock(..)]) => {
                assert!(meant, "a cancel has hit a later wait");
                if luck {
                    link.stage = Stage::Refusal(Reason::Cancelled);
                }
            }
            Stage::Sent(_) | Stage::SentHoldings | Stage::SentLook | Stage::SentToken => {
                assert!(is_doomed, "a cancel has hit {link:?}, which is no wait");
                if luck {
                    link.stage = Stage::Refusal(Reason::Cancelled);
                }
            }
            Stage::Waiting => {
                assert!(meant, "a cancel has hit a later wait");
                if luck || self.server.is_waiting(pid) {
                    link.stage = Stage::Refusal(Reason::Cancelled);
                    self.server.leave_queue(pid);
                }
            }
            _ => {}
        }
        true
    }
}

pub(crate) fn refusal() -> Error {
    Error::new(ErrorKind::Driver, "the server refused the statement")
}
