//! The graph of waits as the server's locks show it, together with the waits of this process.
//!
//! Other processes show up in two ways. A session that waits while it holds makes an edge by itself.
//! A process that holds in one session and waits in another one publishes the edge by a *link*: a
//! read lock on a key that is derived from the two keys.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Dependences;
use super::graph::{Edge, Ends, Graph};
use crate::key::{LockKey, NamedKey};
use crate::looking::LockEntry;
use crate::mode::Mode;

/// What a process learns from a list of all locks.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    pub(crate) graph: Graph<&'a LockEntry>,
    /// The links by which this process publishes its edges, each with its edge and whether that
    /// gives up.
    pub(crate) links: BTreeMap<LockKey, (Ends, bool)>,
}

/// The key of a link: its holder keeps one key locked while it waits for the other.
///
/// It is made of two halves that are combined by XOR, so that a process that knows one of the two
/// keys, and all keys that are held, need not try each pair of them.
fn link((held, awaited): Ends, gives_up: bool) -> LockKey {
    LockKey::from(held_half(held) ^ awaited_half(awaited, gives_up))
}

fn held_half(key: LockKey) -> i64 {
    half("pglock-wait-holds", key)
}

fn awaited_half(key: LockKey, gives_up: bool) -> i64 {
    half(if gives_up { "pglock-wait-gives-up" } else { "pglock-wait-stays" }, key)
}

fn half(namespace: &str, key: LockKey) -> i64 {
    // A name makes no pair.
    NamedKey::in_namespace(namespace, &key.to_string()).key().as_bigint().unwrap_or_default()
}

/// Reads a list of all locks. `ours`: the dependences of this process, both before the list was
/// made and after.
pub(crate) fn read<'a>(locks: &'a [LockEntry], ours: &Dependences) -> Reading<'a> {
    let mut graph = Graph::new();
    add_sessions(locks, &mut graph);
    let mut published = BTreeSet::new();
    for (ends, dependence) in &ours.all {
        let holds = |lock: &&LockEntry| lock.is_ours && lock.granted && lock.key == ends.0;
        let Some(who) = locks.iter().find(holds) else { continue };
        if graph.get(*ends).is_none() {
            published.insert(*ends);
        }
        let (is_certain, gives_up) = (dependence.is_certain, dependence.gives_up);
        let ours = dependence.waits.clone();
        graph.add(*ends, Edge { is_certain, gives_up, ours, who });
    }
    let held: BTreeSet<_> = locks.iter().filter(|lock| lock.granted).map(|lock| lock.key).collect();
    let links = Links::new(locks, &held);
    links.follow(ours, &mut graph);

    let awaited: BTreeSet<_> =
        locks.iter().filter(|lock| !lock.granted).map(|lock| lock.key).collect();
    let is_awaited =
        |key: LockKey| awaited.contains(&key) || ours.awaited.contains(&key) || links.lead_to(key);
    published.retain(|(held, _)| is_awaited(*held));
    let links = published.into_iter().map(|ends| {
        let gives_up = ours.all.get(&ends).is_some_and(|ours| ours.gives_up);
        (link(ends, gives_up), (ends, gives_up))
    });
    let links = links.collect();
    Reading { graph, links }
}

/// Adds an edge for each session that waits while it holds.
fn add_sessions<'a>(locks: &'a [LockEntry], graph: &mut Graph<&'a LockEntry>) {
    let mut waiting: HashMap<i32, Vec<&LockEntry>> = HashMap::new();
    for wait in locks.iter().filter(|lock| !lock.granted) {
        waiting.entry(wait.pid).or_default().push(wait);
    }
    for who in locks.iter().filter(|lock| lock.granted) {
        for wait in waiting.get(&who.pid).into_iter().flatten() {
            let edge = Edge { is_certain: true, gives_up: false, ours: Vec::new(), who };
            graph.add((who.key, wait.key), edge);
        }
    }
}

/// The choices of a waiter: to wait on, or to give up.
const CHOICES: [bool; 2] = [false, true];

/// What may be links of other processes: read locks.
struct Links<'a> {
    locks: HashMap<i64, &'a LockEntry>,
    /// The keys that are held, by both halves that a link may have.
    held: HashMap<i64, LockKey>,
    awaited: HashMap<i64, (LockKey, bool)>,
}

impl<'a> Links<'a> {
    fn new(locks: &'a [LockEntry], held: &BTreeSet<LockKey>) -> Self {
        let may_be = |lock: &&LockEntry| lock.granted && !lock.is_ours && lock.mode == Mode::Read;
        let locks: HashMap<_, _> = locks
            .iter()
            .filter(may_be)
            .filter_map(|lock| Some((lock.key.as_bigint()?, lock)))
            .collect();
        let mut links = Self { locks, held: HashMap::new(), awaited: HashMap::new() };
        if !links.locks.is_empty() {
            for &key in held {
                links.held.insert(held_half(key), key);
                let halves = CHOICES.map(|choice| (awaited_half(key, choice), (key, choice)));
                links.awaited.extend(halves);
            }
        }
        links
    }

    /// Whether a holder of any key waits for this one.
    fn lead_to(&self, awaited: LockKey) -> bool {
        let halves = CHOICES.map(|choice| awaited_half(awaited, choice));
        self.locks
            .keys()
            .any(|link| halves.iter().any(|half| self.held.contains_key(&(link ^ half))))
    }

    /// Adds the edges that can be reached from the waits of this process.
    fn follow(&self, ours: &Dependences, graph: &mut Graph<&'a LockEntry>) {
        let mut next: Vec<_> = ours.all.keys().map(|(_, awaited)| *awaited).collect();
        let mut seen = BTreeSet::new();
        while let Some(key) = next.pop() {
            if !seen.insert(key) {
                continue;
            }
            let half = held_half(key);
            for (link, &who) in &self.locks {
                if let Some(&(awaited, gives_up)) = self.awaited.get(&(link ^ half)) {
                    let edge = Edge { is_certain: false, gives_up, ours: Vec::new(), who };
                    graph.add((key, awaited), edge);
                }
            }
            next.extend(graph.awaited_by_holders(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dependences::Dependence;
    use super::*;
    use crate::driver::{Holding, lock_entry};

    fn lock(pid: i32, key: impl Into<LockKey>, granted: bool, is_ours: bool) -> LockEntry {
        let key = key.into();
        LockEntry { is_ours, ..lock_entry(Holding { key, mode: Mode::Write }, granted, pid) }
    }

    fn linked(pid: i32, ends: Ends, gives_up: bool) -> LockEntry {
        let key = link(ends, gives_up);
        lock_entry(Holding { key, mode: Mode::Read }, true, pid)
    }

    fn ends(held: i64, awaited: i64) -> Ends {
        (held.into(), awaited.into())
    }

    fn ours(all: &[Ends], gives_up: bool) -> Dependences {
        let dependence = Dependence { is_certain: false, gives_up, waits: vec![1] };
        Dependences {
            all: all.iter().map(|ends| (*ends, dependence.clone())).collect(),
            awaited: all.iter().map(|(_, awaited)| *awaited).collect(),
        }
    }

    #[test]
    fn links_never_change() {
        let number = |ends, gives_up| link(ends, gives_up).as_bigint();
        let pairs = ((5, -7).into(), LockKey::from("my-lock"));
        let numbers = [number(ends(1, 2), false), number(ends(1, 2), true), number(pairs, false)];
        let frozen = [-5463949992330678632, -797292621015453736, 5896035853485133432];
        assert_eq!(numbers, frozen.map(Some));
    }

    #[test]
    fn edge_is_published_once_others_wait_for_the_key() {
        let ours = ours(&[ends(1, 2)], true);
        let mut locks = vec![lock(7, 1, true, true), lock(8, 2, true, false)];
        assert!(read(&locks, &ours).links.is_empty());
        locks.push(lock(9, 1, false, false));
        let links = read(&locks, &ours).links;
        assert_eq!(
            links.into_iter().collect::<Vec<_>>(),
            [(link(ends(1, 2), true), (ends(1, 2), true))]
        );
        // The others poll.
        locks.pop();
        locks.push(linked(9, ends(2, 1), false));
        assert_eq!(read(&locks, &ours).links.len(), 1);
    }

    #[test]
    fn link_of_another_process_closes_the_ring() {
        let ours = ours(&[ends(1, 2)], true);
        let mut locks =
            vec![lock(7, 1, true, true), lock(8, 2, true, false), lock(9, 1, false, false)];
        assert_eq!(read(&locks, &ours).graph.ring(ends(1, 2)), None);
        locks.push(linked(8, ends(2, 1), true));
        let reading = read(&locks, &ours);
        let ring = reading.graph.ring(ends(1, 2)).unwrap();
        assert_eq!(ring, [ends(1, 2), ends(2, 1)]);
        assert_eq!(reading.graph.victim(&ring), Some(ends(2, 1)));
        assert!(!reading.graph.is_certain(&ring));
        assert_eq!(reading.graph.get(ends(2, 1)).map(|edge| edge.who.pid), Some(8));
    }

    #[test]
    fn ring_of_three_is_followed_through_links() {
        let ours = ours(&[ends(1, 2)], false);
        let mut locks: Vec<_> =
            [(7, 1), (8, 2), (9, 3)].map(|(pid, key)| lock(pid, key, true, pid == 7)).into();
        locks.push(linked(8, ends(2, 3), false));
        locks.push(linked(9, ends(3, 1), false));
        let ring = read(&locks, &ours).graph.ring(ends(1, 2)).unwrap();
        assert_eq!(ring, [ends(1, 2), ends(2, 3), ends(3, 1)]);
    }

    #[test]
    fn session_that_waits_while_it_holds_needs_no_link() {
        let ours = ours(&[ends(1, 2)], false);
        let locks = [lock(7, 1, true, true), lock(8, 2, true, false), lock(8, 1, false, false)];
        let reading = read(&locks, &ours);
        let ring = reading.graph.ring(ends(1, 2)).unwrap();
        assert_eq!(ring, [ends(1, 2), ends(2, 1)]);
        assert_eq!(reading.links.len(), 1);
    }

    #[test]
    fn lock_that_is_lost_makes_no_edge() {
        let locks = [lock(8, 2, true, false), linked(8, ends(2, 1), false)];
        assert!(read(&locks, &ours(&[ends(1, 2)], false)).graph.ring(ends(1, 2)).is_none());
    }
}
