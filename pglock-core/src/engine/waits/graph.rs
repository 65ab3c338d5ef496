//! The graph of waits: which keys stay held until another key is granted.

use std::collections::{BTreeMap, VecDeque};

use crate::key::LockKey;

/// Keys, and an edge from each key that is held to each key that its holder waits for.
///
/// It has keys rather than sessions as its nodes, because a wait for a key depends on all that hold
/// it: on a writer, or on each reader, since a reader waits for readers only behind a writer.
#[derive(Debug)]
pub(crate) struct Graph<W>(BTreeMap<LockKey, BTreeMap<LockKey, Edge<W>>>);

/// The holder of one key does not release it before it gets the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Edge<W> {
    /// Whether that is known, or only likely.
    pub(crate) is_certain: bool,
    /// Whether the wait ends if it is part of a deadlock.
    pub(crate) gives_up: bool,
    /// The waits of this process that make the edge.
    pub(crate) ours: Vec<u64>,
    pub(crate) who: W,
}

/// An edge by its ends: the key that is held, and the key that is awaited.
pub(crate) type Ends = (LockKey, LockKey);

impl<W> Graph<W> {
    pub(crate) fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds an edge, or another holder to an edge. Only if each of them gives up, the edge does.
    ///
    /// A holder that waits for the same key does not count: it may be an upgrade, or two parts of
    /// a task.
    pub(crate) fn add(&mut self, (held, awaited): Ends, edge: Edge<W>) {
        if held == awaited {
            return;
        }
        let edges = self.0.entry(held).or_default();
        let Some(known) = edges.get_mut(&awaited) else {
            edges.insert(awaited, edge);
            return;
        };
        known.is_certain |= edge.is_certain;
        known.gives_up &= edge.gives_up;
        if known.ours.is_empty() && !edge.ours.is_empty() {
            known.who = edge.who;
        }
        known.ours.extend(edge.ours);
    }

    pub(crate) fn get(&self, (held, awaited): Ends) -> Option<&Edge<W>> {
        self.0.get(&held)?.get(&awaited)
    }

    /// The keys that holders of this one wait for.
    pub(crate) fn awaited_by_holders(&self, held: LockKey) -> impl Iterator<Item = LockKey> {
        self.0.get(&held).into_iter().flat_map(|edges| edges.keys().copied())
    }

    /// The shortest ring with this edge; of several, the one with the lowest keys. It begins with
    /// its lowest key, so each process sees the same one.
    pub(crate) fn ring(&self, (held, awaited): Ends) -> Option<Vec<Ends>> {
        let mut came_from = BTreeMap::new();
        let mut next = VecDeque::from([awaited]);
        while let Some(key) = next.pop_front() {
            for successor in self.awaited_by_holders(key) {
                if successor != awaited && !came_from.contains_key(&successor) {
                    came_from.insert(successor, key);
                    next.push_back(successor);
                }
            }
        }
        let mut ring = vec![(held, awaited)];
        let mut to = held;
        while to != awaited {
            let from = *came_from.get(&to)?;
            ring.push((from, to));
            to = from;
        }
        ring.reverse();
        let lowest = ring.iter().enumerate().min_by_key(|(_, (held, _))| *held);
        let start = lowest.map_or(0, |(place, _)| place);
        ring.rotate_left(start);
        Some(ring)
    }

    /// The edge of the ring whose waits fail: of those that give up, the one that waits for the
    /// lowest key.
    pub(crate) fn victim(&self, ring: &[Ends]) -> Option<Ends> {
        let gives_up = |ends: &&Ends| self.get(**ends).is_some_and(|edge| edge.gives_up);
        ring.iter().filter(gives_up).min_by_key(|(_, awaited)| *awaited).copied()
    }

    /// Whether each edge of the ring is known.
    pub(crate) fn is_certain(&self, ring: &[Ends]) -> bool {
        ring.iter().all(|ends| self.get(*ends).is_some_and(|edge| edge.is_certain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(gives_up: bool) -> Edge<()> {
        Edge { is_certain: false, gives_up, ours: Vec::new(), who: () }
    }

    fn ends(held: i64, awaited: i64) -> Ends {
        (held.into(), awaited.into())
    }

    fn graph(edges: &[(i64, i64)]) -> Graph<()> {
        let mut graph = Graph::new();
        edges.iter().for_each(|(held, awaited)| graph.add(ends(*held, *awaited), edge(false)));
        graph
    }

    #[test]
    fn crossing_keys_are_a_ring() {
        let graph = graph(&[(2, 1), (1, 2)]);
        let ring = vec![ends(1, 2), ends(2, 1)];
        assert_eq!(graph.ring(ends(1, 2)), Some(ring.clone()));
        assert_eq!(graph.ring(ends(2, 1)), Some(ring));
    }

    #[test]
    fn each_member_of_a_ring_sees_the_same() {
        let graph = graph(&[(3, 1), (1, 2), (2, 3), (2, 4), (5, 1)]);
        let ring = Some(vec![ends(1, 2), ends(2, 3), ends(3, 1)]);
        for member in [ends(3, 1), ends(1, 2), ends(2, 3)] {
            assert_eq!(graph.ring(member), ring);
        }
    }

    #[test]
    fn shortest_ring_is_found() {
        let graph = graph(&[(1, 2), (2, 3), (3, 1), (2, 1)]);
        assert_eq!(graph.ring(ends(1, 2)), Some(vec![ends(1, 2), ends(2, 1)]));
        assert_eq!(graph.ring(ends(3, 1)).map(|ring| ring.len()), Some(3));
    }

    #[test]
    fn no_ring_without_a_way_back() {
        // In order; a wait that leads into a ring, and one out of it.
        assert_eq!(graph(&[(1, 2), (2, 3), (1, 3)]).ring(ends(1, 2)), None);
        let tails = graph(&[(9, 1), (1, 2), (2, 1), (2, 8)]);
        assert_eq!(tails.ring(ends(9, 1)), None);
        assert_eq!(tails.ring(ends(2, 8)), None);
    }

    #[test]
    fn key_does_not_wait_for_itself() {
        assert!(graph(&[(1, 1)]).get(ends(1, 1)).is_none());
    }

    #[test]
    fn one_wait_of_a_ring_fails() {
        let mut graph = graph(&[(1, 2)]);
        graph.add(ends(2, 3), edge(true));
        graph.add(ends(3, 1), edge(true));
        let ring = graph.ring(ends(1, 2)).unwrap();
        assert_eq!(graph.victim(&ring), Some(ends(3, 1)));
        // Another holder of the key would keep it.
        graph.add(ends(3, 1), edge(false));
        assert_eq!(graph.victim(&ring), Some(ends(2, 3)));
        graph.add(ends(2, 3), edge(false));
        assert_eq!(graph.victim(&ring), None);
    }

    #[test]
    fn one_likely_edge_makes_a_ring_likely() {
        let mut graph = graph(&[(1, 2)]);
        graph.add(ends(2, 1), Edge { is_certain: true, ..edge(false) });
        let ring = graph.ring(ends(1, 2)).unwrap();
        assert!(!graph.is_certain(&ring));
        graph.add(ends(1, 2), Edge { is_certain: true, ours: vec![7], ..edge(false) });
        assert!(graph.is_certain(&ring));
        assert_eq!(graph.get(ends(1, 2)).unwrap().ours, [7]);
    }
}
