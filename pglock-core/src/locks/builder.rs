//! The options of a lock manager.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::Locks;
use crate::engine::{AnyDriver, Client, Config, Settings, WaitStrategy};
use crate::error::{Error, ErrorKind, Result};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Options of a lock manager, from [`Locks::builder`].
#[derive(Debug)]
#[must_use = "nothing is made before `build`"]
pub struct LocksBuilder {
    driver: Arc<dyn AnyDriver>,
    config: Config,
    application_name: String,
    runtime: Option<Handle>,
}

impl LocksBuilder {
    pub(super) fn new(driver: Arc<dyn AnyDriver>) -> Self {
        Self { driver, config: Config::default(), application_name: String::new(), runtime: None }
    }

    /// At most this many sessions that hold locks without waiting, default 4.
    ///
    /// A second one is opened when the first holds 1000 locks, and so on, because each statement
    /// pays for the locks of its session; under load, so that the server works on one statement
    /// while the next one is made; or to ask whether a writer waits for the readers of the first,
    /// when no other session can. With a single one, they may keep that writer out. A waiting
    /// session that was granted its lock also becomes one of these, if it holds the lock for more
    /// than half a second while other keys need a waiting session.
    pub fn max_shared_sessions(mut self, sessions: usize) -> Self {
        self.config.shared_sessions = sessions;
        self
    }

    /// At most this many sessions that wait in the server's queue for a lock that another process
    /// holds, default 4.
    ///
    /// Keys for which no such session is free are polled, with growing pauses of up to a third of a
    /// second, and take turns with the others in these sessions. With zero, no key ever waits in
    /// the queue.
    pub fn max_waiting_sessions(mut self, sessions: usize) -> Self {
        self.config.waiting_sessions = sessions;
        self
    }

    /// How locks that other processes hold are waited for, default [`WaitStrategy::Queue`].
    pub fn wait_strategy(mut self, strategy: WaitStrategy) -> Self {
        self.config.wait = strategy;
        self
    }

    /// How long a session that waits in the server's queue is kept when nobody needs it, default 30
    /// seconds.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.config.idle_timeout = timeout;
        self
    }

    /// At most this many locks at the server, held or asked for, default 15 % of the server's lock
    /// table, but not more than 1000.
    ///
    /// All users of a PostgreSQL server share its lock table; when it is full, their statements
    /// fail, too. So a lock beyond this is refused with
    /// [`LockTableFull`](ErrorKind::LockTableFull). A few more may be waited for, one by each
    /// waiting session.
    pub fn max_locks(mut self, locks: usize) -> Self {
        self.config.locks = Some(locks);
        self
    }

    /// How often and for how long the lock on a key passes from caller to caller of this process
    /// without a word to the server, default 100 000 times and 50 milliseconds. Then whoever waits
    /// elsewhere gets it first.
    ///
    /// A reader that joins others counts as a caller to whom the lock has passed; beyond the bound
    /// it joins if no writer elsewhere waits. With zero, the server is asked for each caller.
    pub fn hand_over(mut self, count: u32, age: Duration) -> Self {
        self.config.hand_over_count = count;
        self.config.hand_over_age = age;
        self
    }

    /// Lets the readers of this process have a write lock that the server has given to its writers,
    /// within the bounds of [`hand_over`](Self::hand_over). Off by default.
    ///
    /// For keys that are read much and written now and then by the same process: without it, each
    /// change between reading and writing costs a round trip, for all who wait. With it, a write
    /// lock stays as long as a writer here is in line, and readers that have it to themselves turn
    /// it into a read lock. In exchange, readers of other processes are kept out for up to that age
    /// though only readers hold the lock, and [`holders`](Locks::holders) shows a write lock
    /// meanwhile.
    pub fn share_write_locks(mut self, share: bool) -> Self {
        self.config.share_write_locks = share;
        self
    }

    /// At most this many callers that wait, default a million: beyond it, they are refused with
    /// [`QueueFull`](ErrorKind::QueueFull).
    pub fn max_waiters(mut self, waiters: usize) -> Self {
        self.config.queue = waiters;
        self
    }

    /// How long a session is believed in that says nothing, default 15 seconds for the server and
    /// 10 seconds for the guards.
    ///
    /// After `server`, PostgreSQL (14 or later) ends a session of which it has heard nothing, and
    /// its locks are free. After `guards`, guards stop believing in their locks if the server has
    /// not answered, which must be sooner: they count from the moment at which a question was sent,
    /// and a hundredth of `guards` and a tenth of `server` are kept in reserve for clocks and
    /// delays. The server rounds to milliseconds.
    pub fn lease(mut self, server: Duration, guards: Duration) -> Self {
        self.config.lease.server = server;
        self.config.lease.client = guards;
        self
    }

    /// How often sessions are asked which locks they hold, default 2.5 seconds; at most half of the
    /// lease of the guards. An idle manager asks its one session equally often.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.config.lease.heartbeat = interval;
        self
    }

    /// The `application_name` of the sessions: up to 63 printable ASCII characters.
    ///
    /// By default, and if `name` is empty, sessions keep the name that the URL, the pool or the
    /// role gives the connection, with a mark: `orders` becomes `orders (pglock)`. A connection
    /// without a name becomes `pglock`.
    pub fn application_name(mut self, name: impl Into<String>) -> Self {
        self.application_name = name.into();
        self
    }

    /// Runs the lock engine on this runtime, instead of on a thread of its own.
    ///
    /// By default, one thread named `pglock` runs the engines of all managers of the process. So
    /// locks can be awaited on any executor, on several, and on one that ends, and heartbeats go on
    /// while the application computes. In exchange, each round trip to the server changes threads
    /// twice. To save that, name the runtime of the callers, if they take thousands of locks per
    /// second. A test that pauses tokio's clock and locks in memory names its runtime, too.
    ///
    /// The locks then depend on that runtime:
    ///
    /// - It needs timers and I/O ([`enable_all`](tokio::runtime::Builder::enable_all)).
    /// - When it ends, all locks of the manager are lost, and every later call fails with
    ///   [`NoRuntime`](ErrorKind::NoRuntime).
    /// - While it is blocked, by a computation or between two `block_on` of a current-thread
    ///   runtime, no heartbeat is sent and no lock is released. After the lease of the guards (10
    ///   seconds by default) all locks are lost, and the error says that the runtime was blocked.
    ///   Guards still notice the loss in time, because the engine thread also keeps time.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// The manager. Connects when the first lock is asked for.
    ///
    /// # Errors
    ///
    /// [`InvalidOptions`](ErrorKind::InvalidOptions) if an option is out of range.
    pub fn build(mut self) -> Result<Locks> {
        let invalid = |message: &'static str| Err(Error::new(ErrorKind::InvalidOptions, message));
        if self.config.shared_sessions == 0 {
            return invalid(
                "max_shared_sessions must be at least 1: without a session nothing can be locked",
            );
        }
        if let WaitStrategy::Poll { interval } = self.config.wait
            && interval < Duration::from_millis(1)
        {
            return invalid("the polling interval must be at least one millisecond");
        }
        let lease = self.config.lease;
        // PostgreSQL counts milliseconds in an int4.
        let countable = Duration::from_millis(100)..=Duration::from_millis(i32::MAX as u64);
        if !countable.contains(&lease.server) {
            return invalid("the server's lease must be between 100 milliseconds and 24 days");
        }
        if !lease.is_safe() {
            return invalid(
                "the lease of the guards must end before that of the server: by a hundredth of its own, and a tenth of the server's",
            );
        }
        let sensible = Duration::from_millis(10)..=lease.client / 2;
        if !sensible.contains(&lease.heartbeat) {
            return invalid(
                "the heartbeat must be between 10 milliseconds and half of the lease of the guards",
            );
        }
        let printable = self.application_name.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if self.application_name.len() > 63 || !printable {
            return invalid("application_name must be at most 63 printable ASCII characters");
        }
        self.config.cap_times();
        Ok(self.assemble())
    }

    /// The manager with these options, which are known to be in range.
    pub(super) fn assemble(self) -> Locks {
        let settings = Settings {
            application_name: self.application_name.into(),
            connect_timeout: CONNECT_TIMEOUT,
            lease: self.config.lease,
            runtime: self.runtime,
        };
        let seed = RandomState::new().hash_one(std::process::id());
        Locks { client: Arc::new(Client::new(self.driver, self.config, settings, seed)) }
    }
}
