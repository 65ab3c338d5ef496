//! Distributed read-write locks on PostgreSQL advisory locks: the lock trait, the guards and the
//! engine.
//!
//! Applications depend on an adapter, such as `pglock-sqlx`, which re-exports the public interface
//! of this crate. This crate contains no SQL client.
//!
//! # Overview
//!
//! [`Locks`] is the lock manager of a process: it owns the few sessions that hold locks.
//! [`Locks::rwlock`] returns the [`RwLock`] on a [`LockKey`], made from a name, a number or a pair
//! of numbers (see [`key`]). Acquiring it returns a [`ReadGuard`] or a [`WriteGuard`]. The lock is
//! held until the guard is released or dropped.
//!
//! A lock may be lost before that, together with the session that holds it. Then
//! [`WriteGuard::protect`] stops the work, [`lost`](WriteGuard::lost) completes,
//! [`is_held`](WriteGuard::is_held) turns false, and [`on_loss`](WriteGuard::on_loss) calls a
//! function.
//!
//! A holder may not know of the loss yet. [`WriteGuard::fence`] keeps it from committing a
//! transaction, and a [`FencingToken`] from writing to other resources that check it.
//!
//! [`Locks::set`] takes several keys as one lock, and [`Locks::write_any`] takes one of several.
//!
//! To observe locks, [`Locks::inspect`] and [`Locks::inspect_all`] return who holds them and who
//! waits. [`Locks::stats`] returns what the manager is doing, and [`Locks::check`] asks the server
//! whether it grants locks now.
//!
//! Code that uses locks takes the trait, [`DistributedRwLock`], and works with every backend:
//!
//! ```
//! use std::time::Duration;
//!
//! use pglock_core::{DistributedRwLock, ErrorKind, Result};
//!
//! /// True if this call has rebuilt the index, false if another caller is doing it.
//! async fn rebuild(lock: &dyn DistributedRwLock) -> Result<bool> {
//!     let Some(guard) = lock.try_write().await? else {
//!         return Ok(false);
//!     };
//!     // … the work …
//!     guard.release().await?;
//!     Ok(true)
//! }
//!
//! /// True if the index could be searched within a second.
//! async fn search(lock: &dyn DistributedRwLock) -> Result<bool> {
//!     match lock.try_read_for(Duration::from_secs(1)).await {
//!         Ok(_guard) => Ok(true),
//!         Err(error) if error.kind() == ErrorKind::Timeout => Ok(false),
//!         Err(error) => Err(error),
//!     }
//! }
//! ```
//!
//! # Guarantees
//!
//! * At any time, a key has any number of readers or one writer, among all users of one database on
//!   one primary server. This holds as long as the holders' sessions live.
//! * A call that fails, times out or is dropped leaves nothing behind: neither a lock nor a place
//!   in a queue.
//! * Waiters are served in order: across processes by PostgreSQL's lock queue, within a process
//!   first come, first served. A key that is polled, because of [`WaitStrategy::Poll`] or because
//!   all waiting sessions are busy, has no place in that queue meanwhile; in the latter case, all
//!   keys take turns in the queue.
//! * When a session ends, its guards report the loss: within milliseconds if the server ends it.
//!   When a session goes silent, its guards count as lost when their lease expires: 10 seconds
//!   after sending the last request that got a reply. The server (PostgreSQL 14 or later) gives the
//!   locks away after 15 seconds of silence, not sooner. See [`LocksBuilder::guard_lease`].
//! * A process that was stopped or suspended notices the loss at its first check afterwards:
//!   `is_held`, and each poll of `protect` and `lost`, compare the lease with the clock.
//! * A manager takes no more than its [share](LocksBuilder::max_locks) of the lock table, so that
//!   the server's other users have room.
//! * Locks work on any executor, on several at a time, and on threads without one. They outlive the
//!   runtime of the caller that took them, and heartbeats continue however long the application
//!   computes. See [`LocksBuilder::runtime`].
//! * Dropping a guard never blocks, panics or does I/O.
//! * A function or a waker of the application that panics or blocks harms no other caller.
//! * No error, log line or `Debug` output of this crate shows a password.
//!
//! It is *not* guaranteed that a holder is alone until it learns of a loss: a lock may be lost
//! between a check of `is_held` and what you do next. Locks do not survive a failover. Below
//! PostgreSQL 14 there is no lease at the server: a stopped process keeps its locks until it
//! resumes. Deadlocks over several keys are not found, and locks are not re-entrant, except
//! in a [`DedicatedSession`].
//!
//! `GUARANTEES.md` in the repository has the bounds, fault by fault, and the servers and poolers
//! that work.
//!
//! # Logs and metrics
//!
//! Spans and events go to `tracing`. Their names are stable:
//!
//! | level | what | fields |
//! |---|---|---|
//! | debug | span `pglock_acquire`, around each acquire | `key`, `name` if the key has one, `mode` |
//! | trace | `lock acquired`, `lock busy`, in the span | |
//! | debug | `lock not acquired`, in the span | `error` |
//! | debug | span `pglock_acquire_set`, around each acquire of a set | `keys`: how many |
//! | trace | `locks acquired`, `locks busy`, in that span | |
//! | debug | `locks not acquired`, in that span | `error` |
//! | debug | `lock session opened`, `lock session ended` | `pid`; `error`: why it ended |
//! | debug | `lock session could not be opened` | `error` |
//! | debug | `a wait of a dedicated session could not be cancelled` | `pid`, `error` |
//! | debug | `no other session to compare with …`: no check for poolers | `error`, if there is one |
//! | warn | `locks lost: …` | `pid`, `held`: how many locks guards have lost, `error`: why |
//! | warn | `deadlock: …`, `deadlock suspected: …`, once for each | `deadlock`: keys and processes |
//! | warn | `connection to the server lost: …`, once per outage | `pid`, `error`: why, with its causes |
//! | warn | `the server cannot be reached: …`, once per outage that begins so | `error`: why, with its causes |
//! | warn | `the server is back` | `pid`, `down_for` |
//! | warn | `the server has no lease: …` | `pid`, `version` |
//! | warn | `the key of this lock is that of a tool: …`, once per key and process | `key`, `tool`: see [`key::well_known`] |
//! | warn | `the role may not cancel …`, once per session | `pid` |
//! | warn | `the server refused to cancel a wait: …` | `pid`, `error` |
//! | warn | `the server ended a wait that was not given up, …` | `pid`, `key`, `error` |
//! | error | `a function given to on_loss panicked` | |
//! | info | `leading`, `no longer leading` | `election`, `term` |
//! | warn | `leadership lost: …`, `the leader's work failed`, `the leader's work did not end in time`, `cannot campaign now: …` | `election`; `error` or `grace` |
//! | error | `the leader's work panicked` | `election`, `panic` |
//! | warn | `the lock of the job was lost: …`, `the work of the job failed`, `the work of the job did not end in time`, `cannot run the job now: …`, `cannot record the slot now: …`, `the slot was not recorded …` | `job`; `error` or `grace` |
//! | error | `the work of the job panicked` | `job`, `panic` |
//!
//! With the feature `metrics`, each manager publishes the numbers of [`Stats`] through the crate
//! `metrics`. It does so at least once per heartbeat from the first connection on, also during an
//! outage:
//!
//! * the counters `pglock_grants_total`, `pglock_hand_overs_total`, `pglock_losses_total`,
//!   `pglock_reconnects_total` and `pglock_deadlocks_total`;
//! * the gauges `pglock_sessions`, `pglock_held`, `pglock_waiting`, `pglock_connected` (0 or 1) and
//!   `pglock_heartbeat_age_seconds`, which grows while the server does not answer.
//!
//! Acquires and guards are measured as they end:
//!
//! * the histogram `pglock_wait_seconds`: how long callers waited for the locks that they got;
//! * the histogram `pglock_hold_seconds`: how long guards held their locks. A downgrade or an
//!   upgrade begins anew. Both have the label `mode`: `read` or `write`;
//! * the counter `pglock_failures_total`: acquires that ended with an error. Its label `kind` is the
//!   [`ErrorKind`], such as `timeout` or `lock_table_full`. A busy `try_write` is no failure.
//!
//! The label `application_name` is that of the builder, or `pglock`: give two managers in one
//! process two names. No label depends on keys. Units and meanings are sent to the recorder, so
//! install it before the first acquire.
//!
//! # Features
//!
//! * `blocking`: threads wait for locks without `await`, see the module `blocking`.
//! * `cron`: slots of [scheduled jobs](recipes::schedule) by cron expressions.
//! * `interop`: the keys of lock libraries that hash by SHA-1 or BLAKE2, see [`key::interop`].
//! * `metrics`: publishes counters and gauges, see above and with each recipe.
//! * `tokio-util`: `cancel_on_loss`, which cancels a `CancellationToken` when a lock is lost.
//! * `uuid`: a `Uuid` converts to the key of its text.
//!
//! None is on by default.
//!
//! # For adapter authors
//!
//! There are two ways to add a backend.
//!
//! *Another client for PostgreSQL* implements two traits: [`Driver`](driver::Driver), which
//! connects, and [`Session`](driver::Session), which runs one statement at a time and notices the
//! end of its connection. The engine decides what to send to the server and when. An adapter binds
//! the parameters of a [`Statement`](driver::Statement) to its text, returns the rows, and shows by
//! the kind of [`DriverError`](driver::DriverError) whether the session survived. Then
//! `Locks::new(my_driver)` makes the manager.
//!
//! *A backend that is not PostgreSQL* has two options. It answers requests and questions itself, by
//! [`Request::to_operations`](driver::Request::to_operations) and
//! [`Question::topic`](driver::Question::topic), and gets the engine with its queues. Or it
//! implements [`DistributedRwLock`] and makes its guards from a [`Hold`](driver::Hold).
//!
//! In either case, `pglock-testkit` has the cases that prove it: one macro runs them all.

// Names, on docs.rs, the feature that an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod driver;
pub mod key;

#[cfg(feature = "blocking")]
#[cfg_attr(docsrs, doc(cfg(feature = "blocking")))]
pub mod blocking;
mod engine;
mod error;
mod fence;
mod guard;
mod lease;
mod locks;
mod looking;
pub mod migration;
mod mode;
mod names;
mod owner;
mod provider;
pub mod recipes;
mod rwlock;
mod session;
mod sql;
mod timer;
mod token;
mod transaction;

pub use engine::{Stats, WaitStrategy};
pub use error::{Error, ErrorKind, Result};
pub use guard::{AnyGuard, ReadGuard, Refused, UpgradableReadGuard, WriteGuard};
pub use key::{LockKey, NamedKey};
pub use lease::Lease;
pub use locks::{Locks, LocksBuilder};
pub use looking::{Deadlock, DeadlockWait, LockEntry};
pub use mode::Mode;
pub use provider::LockProvider;
pub use recipes::set::{LockSet, SetGuard};
pub use rwlock::{DistributedRwLock, RwLock};
pub use session::DedicatedSession;
pub use token::FencingToken;
pub use transaction::TransactionLocks;
