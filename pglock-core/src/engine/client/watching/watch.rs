//! The task that looks for deadlocks.
//!
//! It ticks once a second while a caller of its process waits that holds something. It looks at the
//! server's locks only if such a wait has lasted for long; then it publishes what other processes
//! need to know, and searches for rings. A ring that is there in two looks is reported.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::engine::client::{Client, Held};
use crate::engine::runtime::thread::catch_panic;
use crate::engine::runtime::{Shared, log};
use crate::engine::waits::Dependences;
use crate::engine::waits::graph::{Ends, Graph};
use crate::engine::waits::reading::{Reading, read};
use crate::key::LockKey;
use crate::looking::{Deadlock, DeadlockWait, LockEntry};
use crate::mode::Mode;

/// How many looks may miss a deadlock that is reported and is then the same one. A wait is in no
/// queue for a moment when it is renewed.
const MOST_MISSED: u32 = 2;

const TICK: Duration = Duration::from_secs(1);

/// How long the server may take to list its locks.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// How many looks are a tick apart; later ones are further apart.
const FREQUENT_LOOKS: u32 = 6;

/// The most ticks between two looks.
const RARE: u32 = 4;

/// The task that looks for deadlocks. It ends when there is nothing to watch.
pub(super) struct Watch {
    client: Weak<Client>,
    shared: Arc<Shared>,
    /// The rings that the last looks have shown.
    seen: BTreeMap<Vec<Ends>, Seen>,
    links: BTreeMap<LockKey, (Ends, bool, Held)>,
    /// The waits that the last look was about.
    waits: Vec<u64>,
    /// The number of looks about them.
    looks: u32,
    /// How many ticks are left until the next look.
    next_look: u32,
}

struct Seen {
    /// The waits of this process.
    waits: Vec<u64>,
    /// What was reported, from the second look on.
    deadlock: Option<Arc<Deadlock>>,
    /// How many looks have not shown it since.
    missed: u32,
}

impl Watch {
    pub(super) fn new(client: &Arc<Client>) -> Self {
        Self {
            client: Arc::downgrade(client),
            shared: client.shared.clone(),
            seen: BTreeMap::new(),
            links: BTreeMap::new(),
            waits: Vec::new(),
            looks: 0,
            next_look: 0,
        }
    }

    /// Returns true once there is nothing to watch.
    pub(super) async fn run(mut self) -> bool {
        loop {
            self.rest().await;
            let Some(found) = self.shared.waits().tick() else {
                return true;
            };
            if found.all.is_empty() {
                self.forget(&found);
                continue;
            }
            let mut waits: Vec<_> =
                found.all.values().flat_map(|found| found.waits.iter().copied()).collect();
            waits.sort_unstable();
            waits.dedup();
            if self.waits != waits {
                (self.waits, self.looks, self.next_look) = (waits, 0, 0);
            }
            self.next_look = self.next_look.saturating_sub(1);
            if self.next_look > 0 {
                continue;
            }
            let Some(client) = self.client.upgrade() else {
                return false;
            };
            self.look(&client, &found).await;
            self.looks += 1;
            let has_doubt = self.seen.values().any(|seen| seen.deadlock.is_none());
            let ticks = (self.looks.saturating_sub(FREQUENT_LOOKS) + 1).min(RARE);
            self.next_look = if has_doubt { 1 } else { ticks };
        }
    }

    /// Waits for the next tick, and forgets meanwhile what has ended.
    async fn rest(&mut self) {
        // So that processes do not look at the same time: 0.75 to 1.25 s.
        let jitter = (RandomState::new().hash_one(()) % 512) as u32;
        let end = Instant::now() + TICK * (768 + jitter) / 1024;
        loop {
            tokio::select! {
                biased;
                () = sleep_until(end) => return,
                () = self.shared.waits().changed() => {
                    let found = self.shared.waits().dependences();
                    self.forget(&found);
                }
            }
        }
    }

    /// Drops the links and the rings whose waits have ended.
    fn forget(&mut self, found: &Dependences) {
        self.links.retain(|_, (ends, gives_up, held)| {
            held.is_held() && found.all.get(ends).is_some_and(|ours| ours.gives_up == *gives_up)
        });
        self.seen.retain(|ring, seen| {
            let waits = ring.iter().filter_map(|ends| found.all.get(ends));
            waits.flat_map(|ours| &ours.waits).any(|wait| seen.waits.contains(wait))
        });
        self.publish(0);
    }

    fn publish(&self, new: usize) {
        let is_there = |seen: &&Seen| seen.missed == 0;
        let there = self.seen.values().filter(is_there);
        let deadlocks = there.filter_map(|seen| seen.deadlock.clone());
        self.shared.waits().found(deadlocks.collect(), new);
    }

    async fn look(&mut self, client: &Arc<Client>, before: &Dependences) {
        // A look must not open a session.
        if !client.stats().connected {
            return;
        }
        let Some(Ok(locks)) = client.within(LOOK_TIMEOUT, client.look(None)).await else {
            return;
        };
        let mut found = self.shared.waits().dependences();
        found.all.retain(|ends, _| before.all.contains_key(ends));
        let Reading { graph, links } = read(&locks, &found);
        self.note_rings(client, &graph, &found);
        self.forget(&found);
        self.links.retain(|link, _| links.contains_key(link));
        for (link, (ends, gives_up)) in links {
            if !self.links.contains_key(&link)
                && let Some(held) = take_link(client, link).await
            {
                self.links.insert(link, (ends, gives_up, held));
            }
        }
        // Some may have ended since.
        self.forget(&self.shared.waits().dependences());
    }

    fn note_rings(&mut self, client: &Client, graph: &Graph<&LockEntry>, found: &Dependences) {
        let mut before = std::mem::take(&mut self.seen);
        let mut new = Vec::new();
        for ring in found.all.keys().filter_map(|ends| graph.ring(*ends)) {
            let ours = ring.iter().filter_map(|ends| graph.get(*ends));
            let waits: Vec<_> = ours.flat_map(|edge| edge.ours.iter().copied()).collect();
            if waits.is_empty() || self.seen.contains_key(&ring) {
                continue;
            }
            let known = before.remove(&ring);
            let known = known.filter(|seen| seen.waits.iter().any(|wait| waits.contains(wait)));
            let deadlock = known.map(|seen| {
                seen.deadlock.unwrap_or_else(|| {
                    let deadlock = Arc::new(describe(client, graph, &ring));
                    new.push(deadlock.clone());
                    deadlock
                })
            });
            self.seen.insert(ring, Seen { waits, deadlock, missed: 0 });
        }
        for (ring, mut seen) in before {
            seen.missed += 1;
            if seen.deadlock.is_some() && seen.missed <= MOST_MISSED {
                self.seen.insert(ring, seen);
            }
        }
        // First, so that whoever learns of a deadlock finds it counted.
        self.publish(new.len());
        new.iter().for_each(|deadlock| log::deadlock_found(deadlock));
        self.end_victims(graph);
    }

    /// Lets the waits of the rings fail that are to, if they are in this process.
    fn end_victims(&self, graph: &Graph<&LockEntry>) {
        for (ring, seen) in self.seen.iter().filter(|(_, seen)| seen.missed == 0) {
            if let Some(deadlock) = &seen.deadlock
                && let Some(edge) = graph.victim(ring).and_then(|ends| graph.get(ends))
            {
                for waker in self.shared.waits().fail(&edge.ours, deadlock) {
                    catch_panic(|| waker.wake());
                }
            }
        }
    }
}

/// Takes a link, if it is free, without a record that this process holds it.
async fn take_link(client: &Arc<Client>, link: LockKey) -> Option<Held> {
    let taken = client.within(LOOK_TIMEOUT, client.try_unrecorded(link, Mode::Read)).await;
    taken?.ok().flatten()
}

fn describe(client: &Client, graph: &Graph<&LockEntry>, ring: &[Ends]) -> Deadlock {
    let wait = |ends: &Ends| {
        let &(held, awaited) = ends;
        let edge = graph.get(*ends)?;
        Some(DeadlockWait {
            held,
            held_name: client.names.get(held),
            awaited,
            awaited_name: client.names.get(awaited),
            pid: edge.who.pid,
            is_ours: !edge.ours.is_empty(),
            application_name: edge.who.application_name.clone(),
            client_addr: edge.who.client_addr,
        })
    };
    let waits = ring.iter().filter_map(wait).collect();
    Deadlock { is_certain: graph.is_certain(ring), waits }
}
