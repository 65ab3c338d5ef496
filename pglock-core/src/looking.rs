//! Lock entries: holders, waiters, and their deadlocks.

mod deadlock;
mod process;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

pub use self::deadlock::{Deadlock, DeadlockWait};
pub(crate) use self::process::Process;
use crate::key::LockKey;
use crate::mode::Mode;

/// A lock that a session holds or waits for, as the server sees it: from
/// [`Locks::inspect`](crate::Locks::inspect), [`Locks::inspect_all`](crate::Locks::inspect_all) or
/// [`Error::holders`](crate::Error::holders).
///
/// It may be any advisory lock in the same database, even one of another program. PostgreSQL hides
/// address and time of other roles' sessions from ordinary roles.
///
/// # Examples
///
/// ```
/// use pglock_core::LockEntry;
///
/// fn line(entry: &LockEntry) -> String {
///     let name = entry.name.as_deref().unwrap_or("?");
///     let state = if entry.granted { "holds" } else { "waits for" };
///     format!("pid {} {state} the {} lock {name} ({})", entry.pid, entry.mode, entry.key)
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LockEntry {
    /// The key.
    pub key: LockKey,
    /// The name of the key, if a lock or guard of this manager uses it now.
    pub name: Option<Arc<str>>,
    /// The mode in which the session holds the lock or waits for it.
    pub mode: Mode,
    /// Whether the session holds the lock; otherwise it waits.
    pub granted: bool,
    /// The backend pid of the session.
    pub pid: i32,
    /// Whether the session belongs to the lock manager that was asked, so that this process holds
    /// the lock or waits for it.
    pub is_ours: bool,
    /// The `application_name` of the session; any client can choose any text.
    pub application_name: String,
    /// The address of the client; `None` over a Unix socket, and if PostgreSQL hides it.
    pub client_addr: Option<IpAddr>,
    /// If the session waits, the time since when (PostgreSQL 14 or later). If it holds the lock,
    /// the time since when it has been connected: the server does not record when it granted the
    /// lock.
    pub since: Option<SystemTime>,
    /// The backend pids of the sessions that block a waiting one, including those before it in the
    /// queue.
    pub blocked_by: Vec<i32>,
    /// The deadlock that the lock is part of, if this manager is part of it, too, and has found it.
    pub deadlock: Option<Arc<Deadlock>>,
}
