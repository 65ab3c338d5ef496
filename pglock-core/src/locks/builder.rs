//! The options of a lock manager.

mod build;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::engine::{AnyDriver, Config, WaitStrategy};

/// The options of a lock manager, from
/// [`Locks::builder`](crate::Locks::builder).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use pglock_core::driver::Driver;
/// use pglock_core::{Locks, Result, WaitStrategy};
/// use tokio::runtime::Handle;
///
/// /// Notices within three seconds that the server cannot be reached any more.
/// fn watchful(driver: impl Driver) -> Result<Locks> {
///     Locks::builder(driver)
///         .application_name("billing")
///         .server_lease(Duration::from_secs(5))
///         .guard_lease(Duration::from_secs(3))
///         .heartbeat(Duration::from_millis(500))
///         .build()
/// }
///
/// /// Holds no more than two connections, and refuses callers rather than queue them.
/// fn small(driver: impl Driver) -> Result<Locks> {
///     Locks::builder(driver)
///         .max_shared_sessions(1)
///         .max_waiting_sessions(1)
///         .idle_timeout(Duration::from_secs(5))
///         .disconnect_when_idle()
///         .max_locks(100)
///         .max_waiters(1000)
///         .build()
/// }
///
/// /// For keys that one process reads very often; other processes may wait for half a second.
/// fn fast(driver: impl Driver) -> Result<Locks> {
///     Locks::builder(driver)
///         .hand_over_count(1_000_000)
///         .hand_over_age(Duration::from_millis(500))
///         .share_write_locks(true)
///         .runtime(Handle::current())
///         .build()
/// }
///
/// /// For migrations: no session waits in the server while an index is built.
/// fn polling(driver: impl Driver) -> Result<Locks> {
///     let strategy = WaitStrategy::Poll { interval: Duration::from_secs(1) };
///     Locks::builder(driver).wait_strategy(strategy).build()
/// }
/// ```
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

    /// At most this many sessions that hold locks without waiting. Default 4.
    ///
    /// The manager opens a second one
    ///
    /// - when the first holds 1000 locks, and so on, because each statement gets slower with the
    ///   number of locks in its session;
    /// - under load, so that the server executes one statement while the manager prepares the next;
    /// - to ask whether a writer of another process waits for the readers of the first, if no other
    ///   session can. With a single session, these readers may keep that writer out.
    ///
    /// A waiting session also becomes one of these if it holds the lock that it waited for, for more
    /// than half a second, while other keys need a waiting session.
    pub fn max_shared_sessions(mut self, sessions: usize) -> Self {
        self.config.max_shared_sessions = sessions;
        self
    }

    /// At most this many sessions that wait in the server's queue for locks that other processes
    /// hold. Default 4.
    ///
    /// The manager polls keys for which no such session is free, with growing pauses of up to a
    /// third of a second, and lets all keys take turns in these sessions. With zero, no key ever
    /// waits in the queue.
    pub fn max_waiting_sessions(mut self, sessions: usize) -> Self {
        self.config.max_waiting_sessions = sessions;
        self
    }

    /// How the manager waits for locks that other processes hold. Default
    /// [`WaitStrategy::Queue`].
    pub fn wait_strategy(mut self, strategy: WaitStrategy) -> Self {
        self.config.wait_strategy = strategy;
        self
    }

    /// How long, at most, a session waits in the server's queue before the manager ends the wait
    /// and begins it anew. Default 60 seconds, at least 100 milliseconds. Each wait lasts for a
    /// random part of that, at least half.
    ///
    /// A session that waits pins the server's `xmin`: until the wait ends, vacuum removes no row of
    /// that database that was deleted since it began. With this bound, a follower may wait for
    /// days. In exchange, a caller that waits for longer loses its place in the server's queue
    /// each time and waits behind all others, but the order within this process stays. Readers of
    /// other processes that waited behind it get the lock then, if readers have it: so reads that
    /// overlap, and each take longer than half of this time, can starve a writer. Each renewal
    /// writes a line "canceling statement due to user request" to the server's log.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use pglock_core::driver::Driver;
    /// use pglock_core::{Locks, Result};
    ///
    /// /// For a database with many updates, where vacuum must not wait.
    /// fn brief(driver: impl Driver) -> Result<Locks> {
    ///     Locks::builder(driver).renew_waits_after(Duration::from_secs(20)).build()
    /// }
    /// ```
    pub fn renew_waits_after(mut self, time: Duration) -> Self {
        self.config.wait_renewal = Some(time);
        self
    }

    /// Lets a session wait in the server's queue until it has the lock, however long that takes.
    ///
    /// No caller loses its place, and nothing appears in the server's log. In exchange, a wait
    /// holds back vacuum as long as it lasts: see [`renew_waits_after`](Self::renew_waits_after).
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::driver::Driver;
    /// use pglock_core::{Locks, Result};
    ///
    /// /// For a database with few updates, where waiters must keep their order.
    /// fn patient(driver: impl Driver) -> Result<Locks> {
    ///     Locks::builder(driver).never_renew_waits().build()
    /// }
    /// ```
    pub fn never_renew_waits(mut self) -> Self {
        self.config.wait_renewal = None;
        self
    }

    /// How long the manager keeps an idle waiting session. Default 30 seconds.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.config.idle_timeout = timeout;
        self
    }

    /// Closes the last session, too, when the manager has had neither locks nor waiters for the
    /// [`idle_timeout`](Self::idle_timeout). By default, one session stays open.
    ///
    /// The next acquire, check or inspection connects again, and takes that much longer. For fleets
    /// of mostly idle processes, and for databases that stop while nothing is connected.
    pub fn disconnect_when_idle(mut self) -> Self {
        self.config.disconnect_when_idle = true;
        self
    }

    /// At most this many locks at the server, held or asked for. Default 15 % of the server's lock
    /// table, but not more than 1000.
    ///
    /// All users of a PostgreSQL server share its lock table; when it is full, their statements
    /// fail, too. So an acquire beyond this limit fails with
    /// [`LockTableFull`](crate::ErrorKind::LockTableFull). Each waiting session may wait for one more.
    pub fn max_locks(mut self, locks: usize) -> Self {
        self.config.max_locks = Some(locks);
        self
    }

    /// At most this many callers that wait. Default a million.
    ///
    /// An acquire beyond this limit fails with [`TooManyWaiters`](crate::ErrorKind::TooManyWaiters).
    pub fn max_waiters(mut self, waiters: usize) -> Self {
        self.config.max_waiters = waiters;
        self
    }

    /// How often a lock may be handed to the next caller in this process without involving the
    /// server. Default 100 000 times.
    ///
    /// After that, or after the [age](Self::hand_over_age), waiters of other processes get the lock
    /// first. A reader that joins other readers counts as one hand-over; beyond the bound it joins
    /// if no writer of another process waits. With zero, the manager asks the server for each
    /// caller.
    pub fn hand_over_count(mut self, count: u32) -> Self {
        self.config.hand_over_count = count;
        self
    }

    /// How long, after the server has granted it, a lock may be handed to the next caller in this
    /// process without involving the server. Default 50 milliseconds.
    ///
    /// See [`hand_over_count`](Self::hand_over_count). With zero, the manager asks the server for
    /// each caller.
    pub fn hand_over_age(mut self, age: Duration) -> Self {
        self.config.hand_over_age = age;
        self
    }

    /// Lets readers and writers of this process pass on a write lock for longer than a round trip.
    /// [`hand_over_count`](Self::hand_over_count) and [`hand_over_age`](Self::hand_over_age) bound
    /// this. Off by default.
    ///
    /// Use it for keys that one process reads often and writes occasionally. When a writer leaves,
    /// the readers of this process that are next in line have its lock at once. Without this
    /// option, the server learns within a round trip or two that only readers have it. With it, the
    /// server keeps the write lock while a writer of this process waits, and converts it to a read
    /// lock when only readers are left. In exchange, readers of other processes may have to wait up
    /// to that age although only readers hold the lock, and [`inspect`](crate::Locks::inspect)
    /// shows a write lock meanwhile.
    pub fn share_write_locks(mut self, share: bool) -> Self {
        self.config.share_write_locks = share;
        self
    }

    /// How long the server trusts a session that it does not hear from. Default 15 seconds.
    ///
    /// After that, PostgreSQL (14 or later) ends the session and frees its locks. The value is
    /// rounded to milliseconds. It must exceed the [guard lease](Self::guard_lease) by a hundredth
    /// of that and a tenth of this one, in reserve for clocks and delays.
    pub fn server_lease(mut self, lease: Duration) -> Self {
        self.config.lease.server = lease;
        self
    }

    /// How long guards trust a session that does not hear from the server. Default 10 seconds.
    ///
    /// The time counts from sending the last request that the server has answered. When it is over,
    /// guards report their locks as lost.
    pub fn guard_lease(mut self, lease: Duration) -> Self {
        self.config.lease.guard = lease;
        self
    }

    /// How often the manager asks a session which locks it holds. Default 2.5 seconds; at most half
    /// of the [guard lease](Self::guard_lease).
    ///
    /// An idle manager asks its one session equally often.
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
    /// locks can be awaited on any executor, on several, and on one that ends, and heartbeats
    /// continue while the application computes. In exchange, each round trip to the server changes
    /// threads twice. To save that, name the runtime of the callers if they take thousands of locks
    /// per second. A test that pauses tokio's clock and uses locks in memory also names its
    /// runtime.
    ///
    /// The locks then depend on that runtime:
    ///
    /// - It needs timers and I/O ([`enable_all`](tokio::runtime::Builder::enable_all)).
    /// - When it ends, all locks of the manager are lost, and every later call fails with
    ///   [`NoRuntime`](crate::ErrorKind::NoRuntime).
    /// - While it is blocked, by a computation or between two `block_on` of a current-thread
    ///   runtime, no heartbeat is sent and no lock is released. After the
    ///   [guard lease](Self::guard_lease) all locks are lost, and the error says that the runtime was blocked.
    ///   Guards still notice the loss in time, because the engine thread also keeps time.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }
}
