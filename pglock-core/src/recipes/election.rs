//! Leader election: one of all candidates for a name, in any number of processes, leads.
//!
//! [`Locks::election`] makes a candidate. There are two ways to lead:
//!
//! * [`Election::run`] campaigns, runs the work of the leader, stops it when the leadership is
//!   lost, and campaigns again;
//! * [`Election::campaign`] waits until the candidate leads, and returns its [`Leadership`].
//!
//! [`Election::role`] shows whether this candidate leads, [`Election::leader`] which one does.
//!
//! ```
//! use std::convert::Infallible;
//! use std::ops::ControlFlow;
//!
//! use pglock_core::recipes::election::Term;
//! use pglock_core::{Locks, Result};
//!
//! async fn serve(locks: &Locks, shutdown: impl Future<Output = ()>) -> Result<()> {
//!     locks.election("scheduler").run(shutdown, schedule).await?;
//!     Ok(())
//! }
//!
//! async fn schedule(_: Term) -> Result<ControlFlow<()>, Infallible> {
//!     loop {
//!         // … the work of the leader …
//! #       std::future::pending::<()>().await;
//!     }
//! }
//! ```
//!
//! # One leader at a time
//!
//! The leader holds the write lock on a key. Candidates wait in line for it: across processes in
//! the server's queue, within a process first come, first served. A leader that resigns and
//! campaigns again is at the end of the line, and candidates of other processes that wait in the
//! server's queue lead before those of its own process. The lock becomes free when the process of
//! the leader dies (within 100 ms), and when the leader falls silent (within 16 s).
//!
//! [`run`](Election::run) and [`Leadership::protect`] stop the work of the leader before it could
//! overlap with that of the next one, with these exceptions:
//!
//! * If the server itself ends the session of a live leader, the next candidate has the lock at
//!   once, and the old leader learns of it within some milliseconds (250 on a busy machine). So a
//!   new leader [waits 50 ms](Election::take_over_after) before it leads. To exclude an overlap
//!   even if that takes longer, or if the network is silent at the same time, make it wait for the
//!   [guard lease](crate::LocksBuilder::guard_lease) of the other candidates plus 1 s.
//! * Work that computes or blocks cannot be stopped between two `await`s. Let it check
//!   [`Lease::is_held`](crate::Lease::is_held).
//! * Locks do not survive a failover: after a promotion, there may be a leader on each server.
//!
//! What a leader writes can be made exact: [`Leadership::fence`] refuses the transaction of a leader
//! that has lost the leadership, and [`Leadership::fencing_token`] is for resources elsewhere. The
//! work of [`run`](Election::run) gets no [`Leadership`], so call [`campaign`](Election::campaign)
//! for that.
//!
//! # Connections
//!
//! Elections use the sessions of their lock manager. A follower waits in one of its [waiting
//! sessions](crate::LocksBuilder::max_waiting_sessions), four by default. If a process follows in
//! more elections than it has waiting sessions, they take turns: then a follower notices within a
//! third of a second that the leader is gone.
//!
//! # Metrics
//!
//! With the feature `metrics`, for each election in which this process campaigns, with the name of
//! the election as the label `election`:
//!
//! * the gauge `pglock_election_is_leader`: how many candidates of this process lead, 0 or 1. Alert
//!   if the sum over all processes is not 1 for longer than a change of leaders may take.
//! * the counter `pglock_election_terms_total`: terms that candidates of this process have begun.
//! * the gauge `pglock_election_last_change_timestamp_seconds`: when a term last began or ended in
//!   this process, in seconds since 1970.
//!
//! Install the recorder of your metrics before the first campaign.

mod candidate;
mod leadership;
#[cfg(feature = "metrics")]
mod metrics;
mod observing;
mod options;
pub(super) mod request;
mod run;
mod term;

use std::sync::Arc;

use tokio::sync::watch;

use self::candidate::Candidate;
pub use self::candidate::Role;
pub use self::leadership::Leadership;
use self::options::Options;
pub use self::term::Term;
use crate::{ErrorKind, LockProvider, Locks, NamedKey, Result, WriteGuard, timer};

/// A candidate in an election: see the [module](self).
///
/// Clones are the same candidate. Each call of [`Locks::election`] makes another one, even for the
/// same name, so keep one per process, and clone it.
///
/// # Examples
///
/// ```
/// use pglock_core::recipes::election::Election;
/// use pglock_core::{Locks, Result};
///
/// struct App {
///     scheduler: Election,
/// }
///
/// impl App {
///     fn new(locks: &Locks) -> Self {
///         Self { scheduler: locks.election("scheduler") }
///     }
///
///     /// The reply to `GET /leader`.
///     async fn leader(&self) -> Result<String> {
///         if self.scheduler.role().is_leading() {
///             return Ok("this process".to_owned());
///         }
///         let leader = self.scheduler.leader().await?;
///         Ok(leader.map_or_else(|| "none".to_owned(), |leader| leader.application_name))
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Election {
    candidate: Arc<Candidate>,
    options: Options,
}

impl Locks {
    /// A candidate in the election of this name. Does no I/O.
    ///
    /// The key of the election is in a [namespace](crate::recipes#keys) of its own, so other locks
    /// may have the same name.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(locks: pglock_core::Locks) {
    /// let election = locks.election("scheduler");
    /// # drop(election);
    /// # }
    /// ```
    pub fn election(&self, name: &str) -> Election {
        Election::new(Arc::new(self.clone()), name)
    }
}

impl Election {
    /// A candidate in the election of this name, on the locks of any backend. Does no I/O.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use pglock_core::LockProvider;
    /// use pglock_core::recipes::election::Election;
    ///
    /// fn scheduler(locks: Arc<dyn LockProvider>) -> Election {
    ///     Election::new(locks, "scheduler")
    /// }
    /// ```
    pub fn new(locks: Arc<dyn LockProvider>, name: &str) -> Self {
        Self { candidate: Arc::new(Candidate::new(locks, name)), options: Options::default() }
    }

    /// The key whose write lock the leader holds.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(locks: pglock_core::Locks) {
    /// println!("the leader holds {}", locks.election("scheduler").key().key());
    /// # }
    /// ```
    pub fn key(&self) -> &NamedKey {
        &self.candidate.key
    }

    /// Waits in line until this candidate leads.
    ///
    /// It then waits [for 50 ms by default](Self::take_over_after) before it leads. If it loses the
    /// lock meanwhile, it goes back into the line.
    ///
    /// A candidate that already leads waits until it resigns, and thus for ever if the same task
    /// holds the [`Leadership`]. [Poll this future, or drop
    /// it](crate::DistributedRwLock#poll-an-acquire-or-drop-it).
    ///
    /// # Cancel safety
    ///
    /// Dropping this future gives up the place in line, and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`].
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn tidy_up() {}
    /// # async fn example(locks: pglock_core::Locks) -> pglock_core::Result<()> {
    /// let election = locks.election("housekeeping");
    /// let leadership = election.campaign().await?;
    /// leadership.protect(tidy_up()).await?;
    /// leadership.resign().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn campaign(&self) -> Result<Leadership> {
        #[cfg(feature = "metrics")]
        metrics::register(&self.candidate.name);
        loop {
            let guard = self.candidate.lock.write().await?;
            match self.take_over(guard).await {
                Err(error) if error.kind() == ErrorKind::Lost => {}
                leadership => return leadership,
            }
        }
    }

    /// Leads if no other candidate leads or waits in line. Otherwise returns `None`.
    ///
    /// It waits [for 50 ms by default](Self::take_over_after) before it leads, but not for another
    /// candidate.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future leaves nothing behind.
    ///
    /// # Errors
    ///
    /// [`Lost`](ErrorKind::Lost) if the lock was lost before the candidate could lead; otherwise
    /// see [`ErrorKind`].
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn tidy_up() {}
    /// # async fn example(locks: pglock_core::Locks) -> pglock_core::Result<()> {
    /// if let Some(leadership) = locks.election("housekeeping").try_campaign().await? {
    ///     leadership.protect(tidy_up()).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn try_campaign(&self) -> Result<Option<Leadership>> {
        #[cfg(feature = "metrics")]
        metrics::register(&self.candidate.name);
        match self.candidate.lock.try_write().await? {
            Some(guard) => self.take_over(guard).await.map(Some),
            None => Ok(None),
        }
    }

    async fn take_over(&self, guard: WriteGuard) -> Result<Leadership> {
        guard.end_hand_overs();
        let delay = self.options.take_over_after;
        if !delay.is_zero() {
            guard.protect(timer::sleep(delay)?).await?;
        }
        Ok(Leadership::new(&self.candidate, guard))
    }

    /// Whether this candidate leads. Does no I/O.
    ///
    /// It checks the clock: a process that was stopped, or whose runtime is blocked, does not count
    /// as leading when its leadership may be over. The role belongs to this candidate and its
    /// clones, not to others with the same name.
    pub fn role(&self) -> Role {
        self.candidate.role()
    }

    /// A channel with the role of this candidate, which follows [`role`](Self::role) within
    /// milliseconds.
    ///
    /// Use it to wait for a change. Before work that only the leader may do, call
    /// [`role`](Self::role): it is right by the clock, even before the channel is updated. Dropping
    /// the last clone of the candidate closes the channel.
    ///
    /// # Examples
    ///
    /// ```
    /// # use pglock_core::recipes::election::Election;
    /// async fn report(election: &Election) {
    ///     let mut roles = election.watch();
    ///     while roles.changed().await.is_ok() {
    ///         println!("{:?}", *roles.borrow_and_update());
    ///     }
    /// }
    /// ```
    pub fn watch(&self) -> watch::Receiver<Role> {
        self.candidate.watch()
    }
}
