//! The script of a [`Faulty`](super::Faulty) driver: which fault strikes where.

use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pglock_core::driver::Operation;
use tokio::sync::watch;

/// Where a fault strikes: the steps of the driver interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Point {
    /// Connecting.
    Connect,
    /// The first query of a session.
    Open,
    /// The query of which locks a session holds.
    Holdings,
    /// A request that tries a lock.
    TryLock,
    /// A request that waits for a lock.
    Lock,
    /// A request that releases a lock.
    Unlock,
    /// A request that asks whether a writer waits.
    Probe,
    /// A request that turns a write lock into a read lock, for good or for a moment.
    Downgrade,
    /// A request that turns a read lock into a write lock.
    Upgrade,
    /// A request that cancels a session.
    Cancel,
    /// A request that releases all locks.
    UnlockAll,
    /// A request that only checks that the server answers.
    Ping,
    /// Watching an idle connection.
    Closed,
    /// Closing the session.
    Close,
}

impl Point {
    /// All points.
    pub const ALL: [Self; 14] = [
        Self::Connect,
        Self::Open,
        Self::Holdings,
        Self::TryLock,
        Self::Lock,
        Self::Unlock,
        Self::Probe,
        Self::Downgrade,
        Self::Upgrade,
        Self::Cancel,
        Self::UnlockAll,
        Self::Ping,
        Self::Closed,
        Self::Close,
    ];

    pub(super) fn of(operation: Operation) -> Self {
        match operation {
            Operation::TryLock(..)
            | Operation::TryFirst(..)
            | Operation::TryAlso(..)
            | Operation::TryInstead(..) => Self::TryLock,
            Operation::Lock(..) | Operation::LimitWait(_) => Self::Lock,
            Operation::Unlock(..) => Self::Unlock,
            Operation::Probe(_) => Self::Probe,
            Operation::Downgrade(_) | Operation::LetIn(_) => Self::Downgrade,
            Operation::Upgrade(_) => Self::Upgrade,
            Operation::Cancel(_) => Self::Cancel,
            Operation::UnlockAll => Self::UnlockAll,
            Operation::Ping => Self::Ping,
        }
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The server refuses. With `done`, the request has taken effect all the same, as when a cancel
    /// hits a wait that was just granted.
    Refused {
        /// Whether the request takes effect.
        done: bool,
    },
    /// The connection breaks. With `done`, it breaks when the answer is on its way.
    Broken {
        /// Whether the request takes effect, until the session ends.
        done: bool,
    },
    /// No answer arrives before the fault is cleared or the connection ends. With `done`, the
    /// server has already executed the request.
    Silence {
        /// Whether the request takes effect before the fault is cleared.
        done: bool,
    },
    /// The answer is delayed by this much.
    Slow(Duration),
    /// The request reaches another session of the server, as behind a transaction pooler.
    Moved,
    /// The request reaches the server twice, and the second answer arrives: for a release, the
    /// answer for a lock that is already released.
    Twice,
    /// Before the request, the session's last release is repeated. If the session has taken that
    /// lock again, it loses it.
    Robbed,
}

/// Which faults strike where. Clones are handles to the same script.
#[derive(Clone, Debug)]
pub struct Faults {
    script: Arc<Mutex<Script>>,
    cleared: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Script {
    rules: Vec<Rule>,
    strikes: usize,
}

#[derive(Debug)]
struct Rule {
    point: Point,
    fault: Fault,
    once: bool,
}

impl Default for Faults {
    fn default() -> Self {
        Self::new()
    }
}

impl Faults {
    /// A script without faults.
    #[must_use]
    pub fn new() -> Self {
        Self { script: Arc::default(), cleared: watch::Sender::new(()) }
    }

    /// From now on, the fault strikes at this point.
    pub fn strike(&self, point: Point, fault: Fault) {
        self.script().rules.push(Rule { point, fault, once: false });
    }

    /// The fault strikes when this point is next reached, and not again.
    pub fn strike_once(&self, point: Point, fault: Fault) {
        self.script().rules.push(Rule { point, fault, once: true });
    }

    /// Ends all faults. Withheld answers arrive.
    pub fn clear(&self) {
        self.script().rules.clear();
        self.cleared.send_replace(());
    }

    /// How often a fault has struck.
    #[must_use]
    pub fn strikes(&self) -> usize {
        self.script().strikes
    }

    pub(super) fn at(&self, is_here: impl Fn(Point) -> bool) -> Strike {
        // Subscribed before the script is read, so that no clearing is missed.
        let cleared = self.cleared.subscribe();
        let mut script = self.script();
        let found = script.rules.iter().position(|rule| is_here(rule.point));
        let fault = found.map(|at| {
            script.strikes += 1;
            let Rule { fault, once, .. } = script.rules[at];
            if once {
                script.rules.remove(at);
            }
            fault
        });
        Strike { fault, cleared }
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        // Nothing panics while it is locked.
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The fault that strikes at a point, if any.
pub(super) struct Strike {
    pub(super) fault: Option<Fault>,
    cleared: watch::Receiver<()>,
}

impl Strike {
    pub(super) async fn until_cleared(&mut self) {
        if self.cleared.changed().await.is_err() {
            // The script was dropped, so the fault can no longer be cleared.
            pending().await
        }
    }
}
