//! Figures about a lock manager.

use std::time::Duration;

use super::Machine;
use super::event::Moment;

/// What a lock manager is doing, and counters since it was made.
///
/// # Examples
///
/// ```
/// use pglock_core::Stats;
///
/// /// How contended the keys are within this process, from 0 to 1.
/// fn contention(stats: &Stats) -> f64 {
///     stats.hand_overs as f64 / stats.grants.max(1) as f64
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// The number of connected sessions.
    pub sessions: usize,
    /// The number of locks that the server has granted to this manager.
    pub held: usize,
    /// The number of callers that wait for a lock or a refusal.
    pub waiting: usize,
    /// The number of guards handed out.
    pub grants: u64,
    /// The number of those guards that did not involve the server: the lock passed from one caller
    /// in this process to another.
    pub hand_overs: u64,
    /// The number of locks that guards have lost because the session that held them ended.
    pub losses: u64,
    /// The number of sessions opened to replace one that had ended.
    pub reconnects: u64,
    /// The number of [deadlocks](crate::Deadlock) found that callers of this manager were part of.
    pub deadlocks: u64,
    /// Time since the manager sent the last heartbeat that a session answered, whether or not that
    /// session is still open. Opening a session counts as a heartbeat.
    pub last_heartbeat: Option<Duration>,
    /// Whether a shared session is open, so that the manager can request locks. Also false before
    /// the first acquire, while the manager has
    /// [disconnected](crate::LocksBuilder::disconnect_when_idle), and after it was closed.
    pub connected: bool,
    /// How long the current outage has lasted, if there is one: since the last shared session ended
    /// or could not be opened. The manager keeps trying to connect, even if no caller asks for a
    /// lock.
    pub down_for: Option<Duration>,
    /// Whether the server ends silent sessions, once that is known. PostgreSQL does so from version
    /// 14 on. Always `None` for the in-memory server, whose clients cannot fall silent.
    pub has_lease: Option<bool>,
    /// Whether the role may cancel the statements of its own sessions, once that is known. After
    /// `SET ROLE` it usually may not. Then the manager polls keys that other processes hold, as
    /// with [`WaitStrategy::Poll`](crate::WaitStrategy::Poll).
    pub can_cancel: Option<bool>,
}

impl Machine {
    pub(crate) fn stats(&self, now: Moment) -> Stats {
        let sessions = || self.sessions.iter().map(|(_, session)| session);
        let counts = self.sessions.counts;
        Stats {
            sessions: sessions().filter(|session| session.is_open()).count(),
            held: sessions().map(|session| session.grants()).sum(),
            waiting: self.sessions.queued,
            grants: counts.grants,
            hand_overs: counts.hand_overs,
            losses: counts.losses,
            reconnects: counts.reconnects,
            // They are counted outside of the machine.
            deadlocks: 0,
            last_heartbeat: self.sessions.heartbeat.map(|sent| now.since(sent)),
            connected: self.sessions.is_connected(),
            down_for: self.sessions.down_for(now),
            has_lease: self.sessions.server.and_then(|server| server.has_lease),
            can_cancel: self.sessions.server.map(|server| server.can_cancel),
        }
    }
}
