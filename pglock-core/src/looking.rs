//! Who holds and who waits.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use crate::key::LockKey;
use crate::mode::Mode;

/// A lock that somebody holds or waits for, as the server sees it: from
/// [`Locks::holders`](crate::Locks::holders), [`Locks::all`](crate::Locks::all) or
/// [`Error::holders`](crate::Error::holders).
///
/// It need not be a lock of this library: it may be anybody's advisory lock in the same database.
/// PostgreSQL hides address and time of sessions of other roles from ordinary ones.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LockEntry {
    /// What is locked.
    pub key: LockKey,
    /// The name of the key, if a lock or guard of this manager has it now.
    pub name: Option<Arc<str>>,
    /// How.
    pub mode: Mode,
    /// Whether the session holds the lock; otherwise it waits.
    pub granted: bool,
    /// Backend pid of the session.
    pub pid: i32,
    /// Whether the session belongs to the lock manager that was asked: then this process holds the
    /// lock or waits for it.
    pub is_ours: bool,
    /// What the session calls itself; anybody can choose any text.
    pub application_name: String,
    /// Where the session comes from; `None` over a Unix socket, and for other roles.
    pub client_addr: Option<IpAddr>,
    /// Since when the session waits (PostgreSQL 14 or later), or has been connected if it holds the
    /// lock: the server does not record when it was granted.
    pub since: Option<SystemTime>,
    /// Backend pids of the sessions that are in the way of one that waits, those before it in the
    /// queue included.
    pub blocked_by: Vec<i32>,
}
