//! A desk and a lock table, with random callers and faults: the server grants each lock of the
//! desk once, and nothing else.

use std::collections::BTreeMap;

use super::{Desk, Job, Patience, Person, Verdict, at, person};
use crate::driver::{Holding, LockTable};
use crate::engine::machine::event::Moment;
use crate::error::{Error, ErrorKind};
use crate::mode::Mode;

const OURS: i32 = 1;
const OTHER: i32 = 2;

struct World {
    random: u64,
    now: u64,
    table: LockTable,
    desk: Desk<Person>,
    /// Those that await a reply.
    callers: BTreeMap<usize, Person>,
    guards: Vec<Holding>,
    count: usize,
    /// Whether a wait is at the server.
    is_waiting: bool,
    grants: usize,
    failures: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            random: seed,
            now: 0,
            table: LockTable::new(),
            desk: Desk::new(),
            callers: BTreeMap::new(),
            guards: Vec::new(),
            count: 0,
            is_waiting: false,
            grants: 0,
            failures: 0,
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 33) % limit
    }

    fn now(&self) -> Moment {
        at(self.now)
    }

    fn lock(&mut self) -> Holding {
        let key = self.below(3).cast_signed().into();
        Holding { key, mode: if self.below(2) == 0 { Mode::Read } else { Mode::Write } }
    }

    fn caller(&mut self) -> Person {
        self.count += 1;
        let caller = person(self.count);
        self.callers.insert(self.count, caller.clone());
        caller
    }

    /// Something happens outside the session.
    fn happen(&mut self) {
        self.now += self.below(3);
        match self.below(6) {
            0 | 1 => {
                let (lock, caller) = (self.lock(), self.caller());
                let patience = match self.below(3) {
                    0 => Patience::Try,
                    1 => Patience::Until(at(self.now + self.below(8))),
                    _ => Patience::Wait,
                };
                self.desk.acquire(lock, patience, at(self.now), caller);
            }
            2 if !self.guards.is_empty() => {
                let which = self.below(self.guards.len() as u64) as usize;
                let lock = self.guards.swap_remove(which);
                let caller = (self.below(2) == 0).then(|| self.caller());
                self.desk.release(lock, caller);
            }
            3 => {
                if let Some((_, caller)) = self.callers.pop_last() {
                    caller.is_gone.set(true);
                }
            }
            4 => {
                let lock = self.lock();
                self.table.try_lock(OTHER, lock.key, lock.mode);
            }
            _ => {
                let held: Vec<_> = self.table.holdings(OTHER).collect();
                if let Some(lock) = held.first() {
                    self.table.unlock(OTHER, lock.key, lock.mode);
                }
            }
        }
        self.take_replies();
    }

    fn take_replies(&mut self) {
        self.desk.gone.clear();
        for (caller, verdict) in std::mem::take(&mut self.desk.verdicts) {
            let is_here = self.callers.remove(&caller.number).is_some();
            assert_eq!(is_here, !caller.is_gone.get(), "each caller gets one reply");
            match verdict {
                Verdict::Granted(lock) if is_here => {
                    self.grants += 1;
                    self.guards.push(lock);
                }
                Verdict::Granted(lock) => self.desk.release(lock, None),
                Verdict::Failed(error) => {
                    assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Deadlock));
                    self.failures += 1;
                }
                Verdict::Busy | Verdict::Released => {}
            }
        }
    }

    /// The session does one thing, with or without a fault.
    fn turn(&mut self) {
        let now = self.now();
        if self.is_waiting {
            return self.wait();
        }
        let is_refused = self.below(5) == 0;
        let is_done = !is_refused || self.below(2) == 0;
        match self.desk.next_job(now) {
            Job::Holdings if is_refused => self.desk.refused(None),
            Job::Holdings => {
                let holdings: Vec<_> = self.table.holdings(OURS).collect();
                assert!(self.desk.found(&holdings));
            }
            Job::Unlock(locks) => {
                if is_done {
                    for lock in &locks {
                        assert!(self.table.unlock(OURS, lock.key, lock.mode).is_some());
                    }
                }
                match is_refused {
                    true => self.desk.refused(None),
                    false => self.desk.unlocked(locks.iter().map(|_| true)),
                }
            }
            Job::Try(lock) => {
                let granted = is_done && self.table.try_lock(OURS, lock.key, lock.mode);
                match is_refused {
                    true => self.refuse(),
                    false => self.desk.tried(granted),
                }
            }
            Job::Wait(lock, _) => {
                if self.table.lock(OURS, lock.key, lock.mode) {
                    self.desk.granted();
                } else {
                    self.is_waiting = true;
                }
            }
            Job::Holders(_) => self.desk.timed_out(Vec::new()),
            Job::Idle => {}
            Job::Close => panic!("nothing ends the session"),
        }
        self.take_replies();
    }

    fn wait(&mut self) {
        let now = self.now();
        let is_granted = self.table.awaited_by(OURS).is_none();
        let is_cut = self.desk.interrupts(now) || self.below(4) == 0;
        if is_granted && !is_cut {
            self.is_waiting = false;
            self.desk.granted();
        } else if is_cut {
            self.is_waiting = false;
            self.table.leave_queue(OURS);
            self.refuse();
        }
        self.take_replies();
    }

    /// Half of the refusals are for good.
    fn refuse(&mut self) {
        let is_final = self.below(2) == 0;
        let failure = is_final.then(|| Error::new(ErrorKind::Deadlock, "a deadlock"));
        self.desk.refused(failure);
    }

    /// Everything is released, and every caller gets a reply.
    fn end(&mut self) {
        for lock in self.table.holdings(OTHER).collect::<Vec<_>>() {
            self.table.unlock(OTHER, lock.key, lock.mode);
        }
        self.table.unlock_all(OTHER);
        self.now += 1000;
        for _ in 0..1000 {
            self.turn();
        }
        assert!(self.callers.is_empty(), "{:?}", self.callers);
        let held: Vec<_> = self.table.holdings(OURS).collect();
        for lock in &held {
            assert_eq!(self.table.count(OURS, *lock), 1, "the server does not stack");
            assert!(self.guards.contains(lock), "nothing is left behind");
        }
        for lock in &self.guards {
            assert!(held.contains(lock), "guards have what they believe in");
        }
    }
}

#[test]
fn server_grants_what_guards_have_and_nothing_else() {
    let (mut grants, mut failures) = (0, 0);
    for seed in 0..3000 {
        let mut world = World::new(seed);
        for _ in 0..60 {
            match world.below(2) {
                0 => world.happen(),
                _ => world.turn(),
            }
            for lock in &world.guards {
                let count = world.table.count(OURS, *lock);
                assert_eq!(count, 1, "seed {seed}: {lock:?}");
            }
        }
        world.end();
        (grants, failures) = (grants + world.grants, failures + world.failures);
    }
    assert!(grants > 10_000 && failures > 2000, "{grants} granted, {failures} failed");
}
