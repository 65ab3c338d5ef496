//! The end of every case: the faults stop, so every caller must be served, and nothing may be left.

use super::world::{REMOTE, World};
use crate::engine::machine::event::Patience;

/// So many alarms that whatever can happen must have happened.
const ROUNDS: usize = 400;
const TURNS: usize = 2_000;

impl World {
    pub(crate) fn rounds(&mut self, count: usize) {
        for _ in 0..count {
            for id in self.movable() {
                if self.links.contains_key(&id) {
                    self.turn(id, true);
                }
            }
        }
    }

    pub(crate) fn drain(mut self) {
        self.come_to_rest();
        self.end_faults();
        self.serve_compatible();
        self.serve_all();
        self.leave_nothing();
        if !self.reference.closed {
            self.close();
        }
        self.finish();
    }

    /// However long others hold their locks, tries are answered, and no session waits at the server
    /// without a caller.
    pub(crate) fn come_to_rest(&mut self) {
        self.pass_time_until("callers that only try are answered", |world| {
            let callers = world.reference.keys.values().flat_map(|key| &key.waiting);
            let upgrades = world.reference.upgrades().map(|(_, upgrade)| upgrade.patience);
            callers.map(|caller| caller.patience).chain(upgrades).all(|p| p != Patience::Try)
        });
        self.pass_time_until("unwanted waits are cancelled", |world| {
            let wanted = |key| {
                let model = world.reference.keys.get(&key);
                let upgrades = world.reference.upgrades().any(|(upgraded, _)| upgraded == key);
                upgrades || model.is_some_and(|model| !model.waiting.is_empty())
            };
            let mut links = world.links.values();
            links.all(|link| world.server.awaits(link.pid).is_none_or(wanted))
        });
    }

    fn end_faults(&mut self) {
        for pid in REMOTE {
            self.server.end(pid);
        }
        self.refuses = None;
        for _ in 0..4 {
            self.reap_all();
            self.settle();
        }
        // The earlier faults have been reported by now, unless an attempt to connect must be
        // repeated.
        self.faulty = self.reference.closed && self.faulty;
    }

    /// While guards exist, every caller that they do not exclude must be served.
    fn serve_compatible(&mut self) {
        let blocked = |world: &mut Self| {
            // A caller that found no room in time is served when there is room.
            world.is_full(1)
                || world.reference.keys.values().all(|key| {
                    let guards = || key.guards.iter().filter(|guard| !guard.lost);
                    if guards().any(|guard| guard.upgrade.is_some()) {
                        return guards().count() > 1;
                    }
                    key.waiting.front().is_none_or(|first| {
                        guards().any(|g| !g.mode.is_compatible_with(first.mode))
                    })
                })
        };
        self.pass_time_until("callers that no guard excludes are served", blocked);
    }

    fn reap_all(&mut self) {
        for nth in 0..8 {
            self.reap(nth, nth % 2 == 0);
        }
    }

    fn serve_all(&mut self) {
        self.pass_time_until("every caller is served", |world| {
            while let Some((key, guard)) = world.reference.free_guards(None).pop() {
                world.release(key, guard.grant, true);
                world.settle();
            }
            world.reference.unresolved().is_empty()
        });
    }

    fn leave_nothing(&mut self) {
        self.pass_time_until("nothing is left", |world| {
            world.server.held().next().is_none() && world.machine.keys.is_empty()
        });
        for link in self.links.values() {
            assert!(!self.server.is_waiting(link.pid), "{link:?} waits in vain");
        }
    }

    fn finish(&mut self) {
        self.pass_time_until("the machine is finished", |world| world.machine.is_finished());
        assert!(self.server.held().next().is_none());
        assert!(self.machine.keys.is_empty());
    }

    /// Lets every session do all it can.
    pub(crate) fn settle(&mut self) {
        for _ in 0..TURNS {
            match self.movable().first() {
                Some(id) => self.turn(*id, true),
                None => return,
            }
        }
        panic!("the sessions never come to rest: {self:?}");
    }

    fn pass_time_until(&mut self, goal: &str, mut reached: impl FnMut(&mut Self) -> bool) {
        for _ in 0..ROUNDS {
            self.settle();
            // Because of an earlier fault, the machine may have dropped a session since.
            self.reap_all();
            if reached(self) {
                return;
            }
            let Some(alarm) = self.machine.poll_timeout() else {
                break;
            };
            self.advance(alarm.since(self.now));
        }
        panic!("{goal}: not so: {self:?}");
    }
}
