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
    /// The first question of a session.
    Open,
    /// The question what a session holds.
    Holdings,
    /// A request in which a lock is tried.
    TryLock,
    /// A request in which a lock is waited for.
    Lock,
    /// A request in which a lock is given back.
    Unlock,
    /// A request in which it is asked whether a writer waits.
    Probe,
    /// A request in which a write lock is turned into a read lock.
    Downgrade,
    /// A request in which a session is cancelled.
    Cancel,
    /// A request in which everything is given back.
    UnlockAll,
    /// A request that only wants an answer.
    Ping,
    /// The watch on an idle connection.
    Closed,
    /// The farewell.
    Close,
}

impl Point {
    /// All there are.
    pub const ALL: [Self; 13] = [
        Self::Connect,
        Self::Open,
        Self::Holdings,
        Self::TryLock,
        Self::Lock,
        Self::Unlock,
        Self::Probe,
        Self::Downgrade,
        Self::Cancel,
        Self::UnlockAll,
        Self::Ping,
        Self::Closed,
        Self::Close,
    ];

    pub(super) fn of(operation: Operation) -> Self {
        match operation {
            Operation::TryLock(..) => Self::TryLock,
            Operation::Lock(..) => Self::Lock,
            Operation::Unlock(..) => Self::Unlock,
            Operation::Probe(_) => Self::Probe,
            Operation::Downgrade(_) => Self::Downgrade,
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
    /// The server refuses. With `done`, what was asked has been done all the same, as when a wait
    /// is cancelled that was just granted.
    Refused {
        /// Whether it has an effect.
        done: bool,
    },
    /// The connection breaks. With `done`, on the way back.
    Broken {
        /// Whether it has an effect, which then ends with the session.
        done: bool,
    },
    /// Nothing comes back before the fault is cleared or the connection ends. With `done`, the
    /// answer is on its way.
    Silence {
        /// Whether it has an effect before the fault is cleared.
        done: bool,
    },
    /// The answer comes this much later.
    Slow(Duration),
    /// The request reaches another session of the server, as behind a transaction pooler.
    Moved,
    /// The request reaches the server twice, and the second answer comes back: that of a lock that
    /// had been given back already.
    Twice,
    /// Before the request, the last one in which the session gave a lock back is repeated: if it
    /// holds that lock again, it is taken away.
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
    /// Nothing goes wrong.
    #[must_use]
    pub fn new() -> Self {
        Self { script: Arc::default(), cleared: watch::Sender::new(()) }
    }

    /// From now on, the fault strikes at this point.
    pub fn strike(&self, point: Point, fault: Fault) {
        self.script().rules.push(Rule { point, fault, once: false });
    }

    /// The fault strikes when this point is reached next, and not again.
    pub fn strike_once(&self, point: Point, fault: Fault) {
        self.script().rules.push(Rule { point, fault, once: true });
    }

    /// Nothing goes wrong any more, and what was withheld comes.
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
        // Before the script is read, so that no clearing is missed.
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

/// What strikes at a point, if anything does.
pub(super) struct Strike {
    pub(super) fault: Option<Fault>,
    cleared: watch::Receiver<()>,
}

impl Strike {
    pub(super) async fn until_cleared(&mut self) {
        if self.cleared.changed().await.is_err() {
            // Nobody is left who could clear it.
            pending().await
        }
    }
}
