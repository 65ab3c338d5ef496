//! Readers that have the lock of a writer of this process, before the server knows.

use std::collections::BTreeMap;

use super::upgrades::Upgrade;
use super::world::World;
use crate::engine::machine::event::{CallerId, GrantId, SessionId};
use crate::engine::machine::key::conversion::Conversion;
use crate::engine::machine::key::{Grant, KeyState, Release};
use crate::engine::machine::sessions::Errand;
use crate::key::LockKey;
use crate::mode::Mode;

/// Write locks that readers have had, and how many statements have gone out since.
pub(super) type Early = BTreeMap<GrantId, Sent>;

/// The first statement is a round trip for the readers. With the second, the lock changes or goes.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Sent {
    /// Some may have had no room for the conversion.
    all: usize,
    /// These had room for all that was to be sent.
    roomy: usize,
}

impl World {
    /// A caller has been given this lock.
    pub(super) fn note_pass(&mut self, grant: GrantId) {
        let guards = self.reference.guards();
        let (key, guard) = guards.iter().rfind(|(_, guard)| guard.grant == grant).expect("it has");
        let is_write_lock =
            self.find_grant(*key, grant).is_some_and(|grant| grant.mode == Mode::Write);
        match guard.mode {
            Mode::Read if is_write_lock => {
                self.early.entry(grant).or_default();
            }
            Mode::Read => {
                self.early.remove(&grant);
            }
            Mode::Write => assert!(
                self.config.share_write_locks || self.sent(grant).roomy < 2,
                "{grant:?} keeps readers of other processes out for longer than a round trip"
            ),
        }
    }

    /// A writer becomes a reader.
    pub(super) fn note_downgrade(&mut self, grant: GrantId) {
        self.early.insert(grant, Sent::default());
    }

    /// A reader becomes a writer.
    pub(super) fn note_upgrade(&mut self, caller: CallerId) {
        let upgrades = |upgrade: &Upgrade| upgrade.id == caller;
        for (_, guard) in self.reference.guards() {
            if guard.upgrade.as_ref().is_some_and(upgrades) {
                self.early.remove(&guard.grant);
            }
        }
    }

    /// A statement has gone out.
    pub(super) fn note_statement(&mut self, id: SessionId) {
        let session = self.machine.sessions.get(id).expect("it has sent a statement");
        let grants = || self.machine.keys.values().flat_map(|entry| &entry.grants);
        let reads = |grant: &&Grant| {
            grant.mode == Mode::Write && grant.used == Mode::Read && grant.guards > 0
        };
        for grant in grants().filter(reads) {
            // The server may have granted it to a reader that did not wait for it to the end.
            self.early.entry(grant.id).or_default();
        }
        self.early.retain(|early, sent| match grants().find(|grant| grant.id == *early) {
            Some(grant) if grant.mode == Mode::Write => {
                let is_due = grant.guards > 0 && grant.conversion != Conversion::Refused;
                if grant.session == id && is_due {
                    sent.all += 1;
                    sent.roomy += usize::from(session.queued() == 0);
                }
                true
            }
            _ => false,
        });
    }

    /// A writer has left: the readers behind it have its lock, unless other processes are to have
    /// it first.
    pub(super) fn check_readers_behind(&self, key: LockKey, id: GrantId) {
        let (Some(entry), Some(grant)) = (self.machine.keys.get(&key), self.find_grant(key, id))
        else {
            return;
        };
        let readers = entry.queue.front().is_some_and(|first| first.mode == Mode::Read);
        let is_unused = grant.guards == 0 && grant.release == Release::Queued;
        if readers && is_unused && grant.mode == Mode::Write {
            let may_pass = self.reference.may_pass(key, id, self.now, &self.config);
            assert!(
                !may_pass || self.sent(id).all > 0,
                "readers of {key} wait for the server in vain"
            );
        }
    }

    /// Whether the server is about to learn of each read lock under a write lock.
    pub(super) fn check_conversions(&self, key: LockKey, entry: &KeyState) {
        for grant in &entry.grants {
            let shares = self.config.share_write_locks;
            assert!(grant.is_seen_to(shares), "readers of other processes are kept out for good");
            let session = self.machine.sessions.get(grant.session).expect("it holds the lock");
            let errand = Errand::Downgrade { key, grant: grant.id };
            let is_in_line = match grant.conversion {
                Conversion::Queued(_) => session.unsent().any(|unsent| *unsent == errand),
                Conversion::Sent => session.unsettled().contains(&errand),
                Conversion::LettingIn => {
                    session.unsettled().contains(&Errand::LetIn { key, grant: grant.id })
                }
                Conversion::Lingering { .. } => {
                    session.unsettled().contains(&Errand::Linger { key, grant: grant.id })
                }
                _ => true,
            };
            assert!(is_in_line, "{grant:?} of {key} is never converted");
        }
    }

    fn sent(&self, grant: GrantId) -> Sent {
        self.early.get(&grant).copied().unwrap_or_default()
    }

    fn find_grant(&self, key: LockKey, id: GrantId) -> Option<&Grant> {
        self.machine.keys.get(&key)?.grants.iter().find(|grant| grant.id == id)
    }
}
