//! The settings of the machine, and how it waits for locks of other processes.

use std::time::Duration;

/// How to wait for a lock that another process holds.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use pglock_core::driver::Driver;
/// use pglock_core::{Locks, Result, WaitStrategy};
///
/// fn for_migrations(driver: impl Driver) -> Result<Locks> {
///     let polling = WaitStrategy::Poll { interval: Duration::from_millis(50) };
///     Locks::builder(driver).wait_strategy(polling).build()
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum WaitStrategy {
    /// In the server's queue: first come, first served, among all processes.
    ///
    /// A session that waits pins the server's `xmin`, which holds back vacuum until the wait is
    /// [renewed](crate::LocksBuilder::renew_waits_after). Meanwhile, a `CREATE INDEX CONCURRENTLY`
    /// that the holder of the lock runs cannot finish: PostgreSQL reports a deadlock, or waits for
    /// ever.
    ///
    /// If the role may not cancel its own sessions, as after `SET ROLE`, the manager could not end
    /// such a wait. So it polls instead, with pauses that grow from 20 ms to 16 times as long, and
    /// shows that in [`Stats::can_cancel`](crate::Stats::can_cancel).
    #[default]
    Queue,
    /// By polling, with pauses that grow from `interval` to 16 times as long.
    ///
    /// For migrations: nothing waits inside the server. In exchange, no queue orders the processes,
    /// and overlapping readers can starve a writer.
    Poll {
        /// The first pause between two tries.
        interval: Duration,
    },
}

/// The limits that the machine keeps.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Sessions that hold any number of keys and never wait.
    pub(crate) max_shared_sessions: usize,
    /// How many keys each shared session holds before another one is opened. The more locks a
    /// session has, the slower its statements are.
    pub(crate) keys_per_session: usize,
    /// How many operations may be queued for a shared session before another one takes the rest.
    pub(crate) crowd: usize,
    /// How many sessions wait in the server's queue, for one key each.
    pub(crate) max_waiting_sessions: usize,
    pub(crate) wait_strategy: WaitStrategy,
    /// How often, and for how long, a lock may be handed to the next caller in this process before
    /// other processes get their turn.
    pub(crate) hand_over_count: u32,
    pub(crate) hand_over_age: Duration,
    /// Whether readers in this process may share a write lock.
    pub(crate) share_write_locks: bool,
    /// How long at least a key waits in the server's queue before it makes room for another one.
    pub(crate) turn: Duration,
    /// How long a wait in the server's queue lasts before it is renewed, so that it does not hold
    /// back vacuum: a random part of this, at least half. `None`: waits are never renewed.
    pub(crate) wait_renewal: Option<Duration>,
    /// The first pause between tries for a key without a waiting session.
    pub(crate) poll_interval: Duration,
    /// The maximum number of operations in a statement.
    pub(crate) batch: usize,
    /// How long a waiting session may be idle before it is closed.
    pub(crate) idle_timeout: Duration,
    /// Whether the last session, too, is closed when it has been idle for that time, and neither
    /// locks nor waiters are left.
    pub(crate) disconnect_when_idle: bool,
    /// The pause before the second attempt to connect. It doubles up to 16 times as long.
    pub(crate) reconnect_pause: Duration,
    /// How long waiting callers survive without a connection.
    pub(crate) reconnect_timeout: Duration,
    /// How long a cancelled wait may last before its session is dropped.
    pub(crate) cancel_timeout: Duration,
    pub(crate) lease: Lease,
    /// How many locks this process may have at the server, held or requested. `None`: derived from
    /// the server's lock table.
    pub(crate) max_locks: Option<usize>,
    /// The maximum number of waiting callers.
    pub(crate) max_waiters: usize,
}

/// Longer than any process runs, and short enough to be added to a time.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Config {
    /// Limits times that are too long to calculate with.
    pub(crate) fn cap_times(&mut self) {
        self.hand_over_age = self.hand_over_age.min(FOREVER);
        self.idle_timeout = self.idle_timeout.min(FOREVER);
        self.wait_renewal = self.wait_renewal.map(|time| time.min(FOREVER));
        if let WaitStrategy::Poll { interval } = &mut self.wait_strategy {
            *interval = (*interval).min(FOREVER);
        }
    }

    /// How long a key waits in the server's queue after this many turns without a grant.
    pub(crate) fn turn_after(&self, turns: u8) -> Duration {
        self.turn * 4_u32.pow(turns.into())
    }

    /// How long a key stands in line before others make room for it.
    pub(crate) fn patience_in_line(&self) -> Duration {
        self.turn / 5
    }

    /// The first pause between two tries for a key.
    pub(crate) fn first_pause(&self) -> Duration {
        match self.wait_strategy {
            WaitStrategy::Queue => self.poll_interval,
            WaitStrategy::Poll { interval } => interval,
        }
    }
}

/// How long each side trusts a silent session. The client's time must be shorter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    /// After this time, the server ends a silent session.
    pub(crate) server: Duration,
    /// How long guards count as held after the session was sent a request that it answered.
    pub(crate) guard: Duration,
    /// The time between two questions which locks the session holds.
    pub(crate) heartbeat: Duration,
}

impl Default for Lease {
    fn default() -> Self {
        Self {
            server: Duration::from_secs(15),
            guard: Duration::from_secs(10),
            heartbeat: Duration::from_millis(2500),
        }
    }
}

impl Lease {
    /// Whether the client's time ends first, even if its clock runs slower by a hundredth, with a
    /// tenth of the server's lease to spare.
    pub(crate) fn is_safe(&self) -> bool {
        self.shortest_server() <= self.server
    }

    /// How long the server waits for the client to acknowledge what it has sent.
    ///
    /// The last request before a cut can be a heartbeat old, and the server's lease begins anew
    /// with its answer. With a time that is shorter by a heartbeat, the lock is free when a lease
    /// that began at the cut is over. But the time is never so short that a guard may still count
    /// as held.
    pub(crate) fn acknowledgement(&self) -> Duration {
        self.server.saturating_sub(self.heartbeat).max(self.shortest_server())
    }

    fn shortest_server(&self) -> Duration {
        self.guard.saturating_add(self.guard / 100 + self.server / 10)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_shared_sessions: 4,
            keys_per_session: 1000,
            crowd: 8,
            max_waiting_sessions: 4,
            wait_strategy: WaitStrategy::default(),
            hand_over_count: 100_000,
            hand_over_age: Duration::from_millis(50),
            share_write_locks: false,
            turn: Duration::from_millis(500),
            wait_renewal: Some(Duration::from_secs(60)),
            poll_interval: Duration::from_millis(20),
            batch: 1000,
            idle_timeout: Duration::from_secs(30),
            disconnect_when_idle: false,
            reconnect_pause: Duration::from_millis(50),
            reconnect_timeout: Duration::from_secs(30),
            cancel_timeout: Duration::from_secs(5),
            lease: Lease::default(),
            max_locks: None,
            max_waiters: 1_000_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_drops_its_answer_before_a_lease_that_began_at_the_cut_is_over() {
        let lease = |server, guard, heartbeat| {
            let [server, guard, heartbeat] = [server, guard, heartbeat].map(Duration::from_millis);
            let lease = Lease { server, guard, heartbeat };
            assert!(lease.is_safe());
            lease.acknowledgement().as_millis()
        };
        assert_eq!(lease(15_000, 10_000, 2_500), 12_500);
        // Not before the guard lease is over.
        assert_eq!(lease(15_000, 10_000, 5_000), 11_600);
        assert_eq!(lease(15_000, 13_366, 2_500), 14_999);
    }
}
