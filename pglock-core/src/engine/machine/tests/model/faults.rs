//! The faults.

use std::time::Duration;

use super::link::Stage;
use super::world::World;
use crate::driver::{Operation, Reason};
use crate::engine::machine::event::{Event, SessionId};
use crate::error::{Error, ErrorKind};
use crate::key::LockKey;
use crate::mode::Mode;

impl World {
    pub(super) fn go_down(&mut self, session: SessionId, error: Error) {
        assert!(self.faulty, "an outage without a fault: {error}");
        assert!(!self.is_down() && !self.reference.closed, "an outage is reported once");
        self.outages.push((session, error));
    }

    pub(super) fn come_up(&mut self, down_for: Duration) {
        assert!(self.is_down(), "the end of an outage is reported once");
        self.ended_outages.push(down_for);
    }

    fn is_down(&self) -> bool {
        self.outages.len() > self.ended_outages.len()
    }

    pub(crate) fn connecting(&self) -> Option<SessionId> {
        self.find(|stage| *stage == Stage::Connecting).first().copied()
    }

    pub(crate) fn find(&self, wanted: impl Fn(&Stage) -> bool) -> Vec<SessionId> {
        let links = self.links.iter().filter(|(_, link)| wanted(&link.stage));
        links.map(|(id, _)| *id).collect()
    }

    pub(crate) fn open_fails(&mut self, permanent: bool) {
        let Some(session) = self.connecting() else {
            return;
        };
        self.faulty = true;
        let error = Error::new(ErrorKind::Connection, "the server cannot be reached");
        self.step(Event::OpenFailed { session, error, permanent });
        self.links.remove(&session);
    }

    /// The server refuses a statement when it has done a part of it. With `half`, a probe, a
    /// downgrade or an upgrade ends in its middle.
    pub(crate) fn refuse(&mut self, id: SessionId, done: usize, half: bool) {
        self.faulty = true;
        if let Stage::Sent(operations) = &self.links[&id].stage {
            let unlocked = |operation: &Operation| match operation {
                Operation::Unlock(key, _) | Operation::Downgrade(key) | Operation::LetIn(key) => {
                    Some(*key)
                }
                _ => None,
            };
            self.refused.extend(operations.iter().filter_map(unlocked));
        }
        self.refuse_for(id, done, half, Reason::Itself);
    }

    /// An operator cancels what the session is doing. No caller may notice.
    pub(crate) fn operator_cancels(&mut self, id: SessionId, done: usize, half: bool) {
        self.has_strays |= half;
        self.refuse_for(id, done, half, Reason::Cancelled);
    }

    pub(crate) fn refuse_for(&mut self, id: SessionId, done: usize, half: bool, reason: Reason) {
        let link = &self.links[&id];
        let (pid, stage) = (link.pid, link.stage.clone());
        if let Stage::Sent(operations) = &stage {
            let (before, after) = operations.split_at(done.min(operations.len()));
            let refused = matches!(self.execute(pid, before, true), Stage::Refusal(_));
            let next = after.first().filter(|next| !refused && self.refuses(**next).is_none());
            match next {
                Some(Operation::Probe(key)) if half => {
                    self.server.try_lock(pid, *key, Mode::Read);
                }
                Some(Operation::Downgrade(key)) if half => {
                    self.server.half_downgrade(pid, *key);
                }
                Some(Operation::LetIn(key)) if half => {
                    self.server.downgrade(pid, *key);
                }
                Some(Operation::Upgrade(key)) if half => {
                    self.server.half_upgrade(pid, *key);
                }
                _ => {}
            }
        }
        // The wait may have been granted all the same.
        self.server.leave_queue(pid);
        self.links.get_mut(&id).expect("it was there").stage = Stage::Refusal(reason);
    }

    /// From now on, the server refuses every operation on this key, and no others.
    pub(crate) fn refuse_key(&mut self, key: Option<LockKey>, reason: Reason) {
        self.refuses = key.map(|key| (key, reason));
        self.refused.extend(key);
    }

    /// The server session ends. The client learns of it later.
    pub(crate) fn kill(&mut self, id: SessionId, executed: bool) {
        self.faulty = true;
        let link = self.links.get_mut(&id).expect("only what is there ends");
        let pid = link.pid;
        let stage = std::mem::replace(&mut link.stage, Stage::Broken);
        if let (Stage::Sent(operations), true) = (stage, executed) {
            self.execute(pid, &operations, true);
        }
        self.server.end(pid);
    }

    /// The server session ends. The client never learns of it.
    pub(crate) fn silence(&mut self, id: SessionId) {
        self.faulty = true;
        let link = self.links.get_mut(&id).expect("only what is there falls silent");
        link.stage = Stage::Silent;
        self.server.end(link.pid);
    }

    /// The connection ends. The server learns of it later.
    pub(crate) fn cut(&mut self, id: SessionId) {
        self.faulty |= self.links.contains_key(&id);
        self.drop_link(id);
    }

    /// The same, because its wait cannot be cancelled. That harms no caller.
    pub(super) fn drop_link(&mut self, id: SessionId) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let pid = link.pid;
        let operations = match std::mem::replace(&mut link.stage, Stage::Broken) {
            Stage::Sent(operations) => operations,
            _ => Vec::new(),
        };
        self.orphans.push((pid, operations));
    }

    /// A session that waits in the server's queue does not count as silent. Once granted, it does.
    pub(super) fn end_silent_sessions(&mut self) {
        let lease = self.config.lease.server;
        for link in self.links.values_mut() {
            if self.server.is_waiting(link.pid) {
                link.heard = self.now;
            } else if self.now >= link.heard + lease
                && !matches!(link.stage, Stage::Connecting | Stage::Broken)
            {
                self.faulty = true;
                link.stage = Stage::Broken;
                link.lapsed = true;
                self.server.end(link.pid);
            }
        }
    }

    /// The server notices that a client is gone, perhaps after executing its requests.
    pub(crate) fn reap(&mut self, nth: usize, executed: bool) {
        if self.orphans.is_empty() {
            return;
        }
        let (pid, operations) = self.orphans.remove(nth % self.orphans.len());
        if executed {
            self.execute(pid, &operations, true);
        }
        self.server.end(pid);
    }
}
