//! The engine, which all backends share.
//!
//! Start here. `DESIGN.md` explains why it is built like this.
//!
//! ```text
//!  callers and guards                              a task per session
//! ┌───────────────────────────┐                   ┌─────────────────────────────┐
//! │ client: acquire, release, │                   │ runtime::tasks: connection  │
//! │ inspect, check, close     │                   │ to the server, by a Driver  │
//! └──────┬──────────────▲─────┘                   └─────┬───────────────▲───────┘
//!   Event│         Reply│                          Event│            Job│
//!        │              │                  (an answer)  │     (poll_job)│
//! ┌──────▼──────────────┴───────────────────────────────▼───────────────┴───────┐
//! │ runtime: the machine behind a mutex; carries out effects                    │
//! │ ┌─────────────────────────────────────────────────────────────────────────┐ │
//! │ │ machine: (state, event, time) ──► (state, effects); no I/O, no clock    │ │
//! │ │   a KeyState per key: its queue, its grants, its one ask                │ │
//! │ │   a Session per connection: its outbox, what is in flight, its lease    │ │
//! │ │   timers                                                                │ │
//! │ └─────────────────────────────────────────────────────────────────────────┘ │
//! └──────────────────────────────────────▲──────────────────────────────────────┘
//!                             Event::Tick│poll_timeout
//!                         the manager: opens sessions, keeps time
//! ```
//!
//! # How a `write()` travels
//!
//! 1. The caller's future sends `Event::Acquire` to the machine, under the mutex.
//! 2. The key is new: its `KeyState` puts an `Ask::Try` to a session. An errand goes to the outbox
//!    of that session, and `Effect::Kick` wakes the session's task.
//! 3. The task asks `poll_job` and gets the operation, together with those of other keys.
//! 4. It sends them to the server in one statement, and comes back with `Event::Answered`.
//! 5. The lock is taken: the key has a `Grant`, and `Effect::Resolve` gives it to the caller.
//! 6. If it is not, the key goes in line for a waiting session, which sends a statement that the
//!    server answers when the lock is free.
//! 7. The guard is dropped: `Event::Release`. If another caller here is next, it gets the same grant
//!    at once. Otherwise an unlock goes to the outbox, and step 3 follows.
//!
//! # Words
//!
//! * **caller**: a future that waits for a lock or a reply; the machine knows it by its `CallerId`.
//! * **here**: in this process. Other processes are **elsewhere**.
//! * **ask**: the one thing that a key asks of the server at a time ([`machine::key::ask`]).
//! * **errand**: an operation that a session does, with what its result is for
//!   ([`machine::session::errand`]).
//! * **grant**: a lock that the server has granted to this process ([`machine::key::grant`]). Callers
//!   have it one after the other, and readers together.
//! * **session**: a connection with its server session ([`machine::session`]). A *shared* one holds
//!   many locks, a *waiting* one waits in the server's queue for one.
//! * **dedicated session**: holds locks and waits for others in one session, without the machine
//!   ([`dedicated`]).
//! * **probe**: asks, through a session that does not hold the key, whether a writer of another
//!   process waits for it.
//! * **conversion**: turns a write lock that only readers use into a read lock
//!   ([`machine::key::conversion`]).
//! * **line**: keys that want a waiting session ([`machine::sessions`]).
//! * **lease**: how long guards count as held while their session does not answer.
//! * **heartbeat**: the question which locks a session holds, which renews the lease.
//! * **doubt**: what a session may or may not have done, because the server refused a statement.
//! * **outage**: the time without a session to ask.
//! * **inquiry**: what a session is to find out for a caller ([`machine::inquiry`]).
//! * **dependence**: a lock that a caller keeps while it waits for another one ([`waits`]).
//! * **link**: the lock by which a process publishes a dependence ([`waits::reading`]).

mod client;
mod dedicated;
mod machine;
#[cfg_attr(not(feature = "metrics"), path = "engine/unmetered.rs")]
mod meters;
mod runtime;
mod waits;

pub(crate) use client::{AnyDriver, Client, Held, Tried, Wanted};
pub(crate) use dedicated::{Dedicated, DedicatedHold, Patience as SessionPatience};
pub(crate) use machine::Obstacle;
pub(crate) use machine::config::Config;
pub use machine::config::WaitStrategy;
pub(crate) use machine::event::Patience;
pub(crate) use machine::run::Goal;
pub use machine::stats::Stats;
pub(crate) use runtime::tasks::Settings;
pub(crate) use runtime::thread::runtime as thread_runtime;
