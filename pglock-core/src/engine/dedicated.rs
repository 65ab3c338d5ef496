//! Dedicated sessions: one server session that holds several locks, and also waits for them.
//!
//! They do not use the machine, which never waits in a session that holds a lock. Instead, a
//! dedicated session has a task, which runs one statement at a time, and a [`desk`], which decides
//! what comes next. Callers act on the desk under a mutex and notify the task.
//!
//! ```text
//!                       ┌────────────────── Try: busy, Wait: limit reached ──────────────────┐
//!                       ▼                                                                    │
//!  acquire ──► in line ──► Try ──► Wait ──► granted ──► held by n guards ──► Unlock ──► free │
//!                       │    │       │          ▲                                            │
//!                       │    │       └──► has doubt ──► Holdings: held ─┘   or not held ─────┤
//!                       ▼    ▼                                                               ▼
//!             caller gone, time over                                       the caller's error
//! ```
//!
//! # What comes next
//!
//! In this order: close, `Holdings` (after a failed statement, or when a heartbeat is due),
//! unlocks, tries, the first wait. If a guard of the session has a lock, the desk grants it again
//! without the server.
//!
//! # Why nothing is left behind
//!
//! * The server grants each (key, mode) to the session once: the desk asks for it only while no
//!   guard has it, and one statement runs at a time.
//! * A statement that the server refused may have taken effect. No other statement follows before
//!   `Holdings` has shown what the session holds. If that includes the lock for which the caller
//!   waits, the caller gets it. The desk unlocks exactly what no guard has.
//! * A reply carries a value whose drop releases the lock, so a caller that leaves at any time
//!   leaves no lock.
//!
//! # Why waits are limited
//!
//! A session that waits cannot send a heartbeat, and holds back vacuum. So a wait ends, by
//! `lock_timeout`, one heartbeat before the lease does, or when it is to be renewed
//! (`wait_renewal`), but not before the server has looked for a deadlock. `Holdings` then renews
//! the lease, and the session joins the end of the queue again. When the session has something else
//! to do meanwhile, such as a release, a second connection cancels the wait. The session continues
//! when the server has answered both statements, because a late cancel would hit the next one.

mod desk;
mod hold;
mod registry;
mod task;
mod waiting;

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::task::AbortHandle;

use self::desk::{Caller, Desk, Verdict};
use super::machine::event::Moment;
use super::runtime::Shared;
use super::runtime::liveness::Liveness;
use super::runtime::log::Log;
use super::runtime::tasks::{OnDrop, Settings};
use super::runtime::tenure::{self, Keeper};
use super::runtime::thread::catch_panic;
use crate::driver::Holding;
use crate::error::{Error, ErrorKind, Result};

pub(crate) use self::desk::Patience;
pub(crate) use self::hold::{DedicatedHold, Place};
pub(crate) use self::registry::{Limits, Registry};
pub(super) use self::task::start;

/// What the handle, the guards and the task of a dedicated session share.
pub(crate) struct Dedicated {
    me: Weak<Self>,
    shared: Arc<Shared>,
    settings: Arc<Settings>,
    registry: Arc<Registry>,
    liveness: Arc<Liveness>,
    desk: Mutex<Desk<Waiter>>,
    /// Notified when the desk has something to do.
    kick: Notify,
    /// How many locks the manager may hold, once the server is known.
    cap: OnceLock<usize>,
    abort: OnceLock<AbortHandle>,
    /// Whether the task has ended, and with it the connection.
    is_finished: watch::Sender<bool>,
}

type Waiter = oneshot::Sender<Reply>;

/// Where the task reports that the session is open, or why not.
pub(crate) type Opened = oneshot::Sender<Result<()>>;

enum Reply {
    Granted(Place),
    Busy,
    Released,
    Failed(Error),
}

impl Caller for Waiter {
    fn is_gone(&self) -> bool {
        self.is_closed()
    }
}

impl Dedicated {
    pub(super) fn new(
        shared: &Arc<Shared>,
        settings: &Arc<Settings>,
        registry: &Arc<Registry>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            shared: shared.clone(),
            settings: settings.clone(),
            registry: registry.clone(),
            liveness: Arc::default(),
            desk: Mutex::new(Desk::new()),
            kick: Notify::new(),
            cap: OnceLock::new(),
            abort: OnceLock::new(),
            is_finished: watch::Sender::new(false),
        })
    }

    /// The backend pid, once the session is open.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.liveness.pid()
    }

    /// `None`: the lock is busy, and the caller does not wait.
    pub(crate) async fn acquire(&self, lock: Holding, patience: Patience) -> Result<Option<Place>> {
        let is_full = self.is_full();
        // Dropped after the receiver, so that the task sees that the caller is gone.
        let _leaving = OnDrop(Some(|| self.kick.notify_one()));
        let (caller, reply) = oneshot::channel();
        self.with_desk(|desk, now| {
            let limits = &self.registry.limits;
            if is_full && !desk.holds(lock) {
                desk.refuse(caller, Error::too_many_locks());
            } else if patience != Patience::Try && desk.waits() >= limits.max_waiters {
                desk.refuse(caller, Error::too_many_waiters());
            } else {
                desk.acquire(lock, patience, now, caller);
            }
        });
        self.kick.notify_one();
        match reply.await {
            // The process may have been stopped since the server granted it.
            Ok(Reply::Granted(place)) if tenure::is_alive(self, &self.liveness) => Ok(Some(place)),
            Ok(Reply::Busy) => Ok(None),
            Ok(Reply::Failed(error)) => Err(error),
            Ok(Reply::Granted(_) | Reply::Released) | Err(_) => Err(self.why_ended()),
        }
    }

    /// Releases the lock, and waits until the server has confirmed that it was held until then.
    async fn release(&self, lock: Holding) -> Result<()> {
        let (caller, reply) = oneshot::channel();
        self.give_back(lock, Some(caller));
        match reply.await {
            Ok(Reply::Released) => Ok(()),
            Ok(Reply::Failed(error)) if !self.liveness.has_ended() => Err(error),
            _ => Err(self.why_ended()),
        }
    }

    fn give_back(&self, lock: Holding, caller: Option<Waiter>) {
        self.with_desk(|desk, _| desk.release(lock, caller));
        self.kick.notify_one();
    }

    /// The handle was dropped: the session ends with its last guard.
    pub(crate) fn leave(&self) {
        self.with_desk(|desk, _| desk.leave());
        self.kick.notify_one();
    }

    /// Ends the session for its guards and callers; the task then closes the connection. The first
    /// reason counts.
    pub(crate) fn end(&self, error: Error) {
        // Before anyone else can be granted one of the locks.
        let losses = self.liveness.end(error.clone());
        let held = self.with_desk(|desk, _| desk.end(self.why_ended()));
        self.kick.notify_one();
        if held > 0 && error.kind() != ErrorKind::Closed {
            let pid = self.liveness.pid();
            catch_panic(|| Log::LocksLost { pid, held, error }.write());
        }
        losses.run();
    }

    /// Drops the connection.
    pub(crate) fn abort(&self) {
        if let Some(abort) = self.abort.get() {
            abort.abort();
        }
    }

    /// Completes when the connection is closed.
    pub(crate) async fn until_finished(&self) {
        // The sender lives as long as this.
        let _ = self.is_finished.subscribe().wait_for(|is_finished| *is_finished).await;
    }

    /// Why the task has ended before it could report.
    pub(crate) async fn why_stopped(&self) -> Error {
        self.until_finished().await;
        self.liveness.reason().cloned().unwrap_or_else(Error::runtime_ended)
    }

    /// The error of a call after the session has ended.
    fn why_ended(&self) -> Error {
        match self.liveness.reason() {
            Some(reason) if reason.kind() == ErrorKind::Closed => reason.clone(),
            Some(reason) => Error::session_ended(reason.clone()),
            None => Error::session_closed(),
        }
    }

    /// Whether the manager holds `max_locks` locks, in all of its sessions together.
    fn is_full(&self) -> bool {
        let cap = self.cap.get().copied().unwrap_or(usize::MAX);
        self.registry.locks() + self.shared.stats().held >= cap
    }

    fn locks(&self) -> usize {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner).locks()
    }

    /// Acts on the desk, and replies to callers when no mutex is held: their wakers are foreign
    /// code.
    fn with_desk<T>(&self, act: impl FnOnce(&mut Desk<Waiter>, Moment) -> T) -> T {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut desk, self.now());
        let verdicts = std::mem::take(&mut desk.verdicts);
        let gone = std::mem::take(&mut desk.gone);
        drop(desk);
        drop(gone);
        for (caller, verdict) in verdicts {
            let reply = match (verdict, self.me.upgrade()) {
                (Verdict::Granted(lock), Some(session)) => {
                    Reply::Granted(Place::new(session, lock))
                }
                // Unreachable: the caller holds the session.
                (Verdict::Granted(_), None) => Reply::Failed(Error::session_closed()),
                (Verdict::Busy, _) => Reply::Busy,
                (Verdict::Released, _) => Reply::Released,
                (Verdict::Failed(error), _) => Reply::Failed(error),
            };
            // If the caller is gone, this drops the reply, and so releases a lock in it.
            catch_panic(|| drop(caller.send(reply)));
        }
        result
    }

    fn heartbeat(&self) -> Duration {
        self.settings.lease.heartbeat
    }
}

impl Keeper for Dedicated {
    fn now(&self) -> Moment {
        self.shared.clock().now()
    }

    fn expire(&self) {
        self.end(Error::silent());
        self.abort();
    }
}

impl fmt::Debug for Dedicated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dedicated")
            .field("backend_pid", &self.pid())
            .field("locks", &self.locks())
            .field("has_ended", &self.liveness.has_ended())
            .finish_non_exhaustive()
    }
}
