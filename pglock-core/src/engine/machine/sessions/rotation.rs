//! More keys than waiting sessions: which key gets a session next, and which wait makes room.
//!
//! A key that others pass on in the server's queue is never free when it is polled, so each key
//! must sometimes wait in that queue, and for long enough. For this, the waiting sessions are
//! lanes. In the first lane, a key waits for one turn, in the next one for four turns, and so on. A
//! key that was not granted in its turn moves on to the next lane, or gets a longer turn in the
//! last one. So a key that others pass on quickly is granted quickly, even beside waits of hours; a
//! stream of such keys does not cut the long turns of others short; and keys that others never
//! release change places rarely.
//!
//! With four waiting sessions:
//!
//! ```text
//!            ┌────────────┐ in vain ┌──────────┐ in vain ┌──────────┐ in vain ┌────────────┐
//! in line ─► │ lane 0:    │ ──────► │ lane 1:  │ ──────► │ lane 2:  │ ──────► │ lane 3:    │ ─┐
//!            │ half a     │         │ 2 s each │         │ 8 s each │         │ 32 s, then │  │
//!            │ second each│         │          │         │          │         │ 128 s each │ ◄┘
//!            └────────────┘         └──────────┘         └──────────┘         └────────────┘
//! ```
//!
//! When a key has stood in line for a fifth of the shortest turn, the timer `Rotate` looks for a
//! wait whose turn is over, in the lane of the key or a later one. That wait is cancelled, and its
//! key goes to the end of the line for the next lane. A lane without keys in line takes one that
//! waits for another lane. That key has its own turn there, but not a longer one than the lane's if
//! a key arrives for which the lane is meant. A key returns to lane 0 when it is granted, or when
//! no caller is left. A session that has held its lock for a turn becomes a shared one, within the
//! bounds, and another session waits in its place; otherwise it is no lane meanwhile.

use std::ops::Range;

use smallvec::SmallVec;

use super::{Place, Role, Sessions, Timer};
use crate::engine::machine::event::{Moment, SessionId};
use crate::key::LockKey;

/// The lanes between which keys in line are distinguished.
const LANES: usize = 4;
/// The number of turns without a grant that make the next one longer.
pub(crate) const MOST_TURNS: u8 = 4;

/// A key in line for a waiting session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    key: LockKey,
    pub(crate) since: Moment,
}

/// A wait that makes room for a key in line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) session: SessionId,
    pub(crate) key: LockKey,
    /// The wait has had its full turn.
    pub(crate) is_over: bool,
}

type Lanes<T> = SmallVec<[T; LANES]>;

impl Sessions {
    /// Puts the key in line for a waiting session. It has had this many turns without a grant.
    pub(crate) fn stand_in_line(&mut self, key: LockKey, turns: u8, now: Moment) -> Place {
        let lane = usize::from(turns).min(LANES - 1);
        let place = Place { lane, number: self.next_place };
        self.next_place += 1;
        self.line.insert(place, Standing { key, since: now });
        self.rotate_at(now + self.config.patience_in_line());
        place
    }

    /// The key that gets the free session, unless it is just trying: the first one in line for its
    /// lane, or else one in line for another lane.
    pub(crate) fn next_in_line(
        &self,
        session: SessionId,
        now: Moment,
        wants: impl Fn(LockKey) -> bool,
    ) -> Option<(Place, LockKey)> {
        let first = |lane: usize| {
            let mut line = self.line.range(places(lane));
            line.find(|(_, standing)| wants(standing.key)).map(|(place, s)| (*place, s.key))
        };
        let lanes = self.lanes(now);
        let own = lanes.iter().position(|id| *id == session).unwrap_or(0);
        let served = served_first(own, lanes.len());
        let longest = served.clone().filter_map(first).min_by_key(|(place, _)| place.number);
        // A key that is just trying needs the session in a moment.
        if longest.is_none() && self.line.range(places_of(served)).next().is_some() {
            return None;
        }
        longest.or_else(|| (0..LANES).find_map(first))
    }

    /// Chooses the waits that make room now, and sets the timer for the next ones. `turns` returns
    /// how many turns a key has had without a grant.
    pub(crate) fn make_room(&mut self, now: Moment, turns: impl Fn(LockKey) -> u8) -> Lanes<Turn> {
        let config = &self.config;
        let (mut in_line, is_all) = self.unserved(now);
        // The lanes may change before then.
        let mut next = now + config.turn * 2;
        let mut chosen = Lanes::new();
        let lanes = self.lanes(now);
        for (lane, session) in lanes.iter().enumerate() {
            let served = served_first(lane, lanes.len()).end;
            let Some((key, since)) = self.get(*session).and_then(|s| s.waits_since()) else {
                continue;
            };
            if self.line.range(places_of(0..served)).next().is_none() {
                continue;
            }
            let full = config.turn_after(turns(key));
            let is_last = served == LANES;
            let due = since + if is_last { full } else { full.min(config.turn_after(lane as u8)) };
            let waits = in_line[..served].iter_mut().rev().find(|count| **count > 0);
            match waits {
                Some(count) if now >= due => {
                    *count -= 1;
                    chosen.push(Turn { session: *session, key, is_over: now >= since + full });
                }
                _ => next = next.min(due),
            }
        }
        let soon = now + config.patience_in_line();
        self.rotate_at(if chosen.is_empty() && is_all { next.max(soon) } else { soon });
        chosen
    }

    /// For each lane, the number of keys that have stood in line for long, minus those that will
    /// soon be served. Also returns whether no key will.
    fn unserved(&self, now: Moment) -> ([usize; LANES], bool) {
        let patience = self.config.patience_in_line();
        let waits = |s: &Standing| now >= s.since + patience;
        let count = |lane| self.line.range(places(lane)).take_while(|(_, s)| waits(s)).count();
        let mut counts: [usize; LANES] = std::array::from_fn(count);
        let failing = self.has_just_failed(now);
        let soon = self.of_role(Role::Waiting).filter(|(_, s)| {
            s.is_about_to_be_free() || s.is_given_up() || !s.is_open() && !failing
        });
        let soon = soon.count();
        for _ in 0..soon {
            if let Some(count) = counts.iter_mut().find(|count| **count > 0) {
                *count -= 1;
            }
        }
        (counts, soon == 0)
    }

    /// Turns waiting sessions that have held a lock for long into shared ones, within the bounds,
    /// so that others take their place.
    pub(crate) fn promote_holders(&mut self, now: Moment) {
        // Beyond the cap, only waiting sessions may hold locks.
        if self.is_at_cap() {
            return;
        }
        let shared = self.of_role(Role::Shared).count();
        let room = self.config.max_shared_sessions.saturating_sub(shared);
        let room = room.min(self.unserved(now).0.iter().sum());
        let turn = self.config.turn;
        let holders =
            self.table.values_mut().filter(|s| s.has_held_for(turn, now) && !s.is_doomed());
        for session in holders.filter(|s| s.role() == Role::Waiting).take(room) {
            session.become_shared();
        }
    }

    /// The open waiting sessions, in order, except those that have held a lock for long.
    fn lanes(&self, now: Moment) -> Lanes<SessionId> {
        let waits = self.of_role(Role::Waiting);
        let lanes = waits.filter(|(_, s)| s.is_open() && !s.has_held_for(self.config.turn, now));
        lanes.map(|(id, _)| id).collect()
    }

    /// Checks at this time, or earlier, whether waits must make room.
    pub(crate) fn rotate_at(&mut self, at: Moment) {
        if self.config.max_waiting_sessions > 0 && !self.line.is_empty() {
            self.timers.set_at_latest(Timer::Rotate, at);
        }
    }
}

/// All places in line for that lane.
fn places(lane: usize) -> Range<Place> {
    places_of(lane..lane + 1)
}

/// All places in line for those lanes.
fn places_of(lanes: Range<usize>) -> Range<Place> {
    Place { lane: lanes.start, number: 0 }..Place { lane: lanes.end, number: 0 }
}

/// Which keys have precedence in a lane. The last lane serves all that reached it.
fn served_first(lane: usize, lanes: usize) -> Range<usize> {
    let lane = lane.min(LANES - 1);
    lane..if lane + 1 >= lanes { LANES } else { lane + 1 }
}
