//! Deadlocks: callers that wait for each other's locks.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::process::Process;
use crate::key::LockKey;
use crate::names::ShownKey;

/// Callers that hold locks and wait for each other's, in a circle: from
/// [`LockEntry::deadlock`](super::LockEntry::deadlock).
///
/// Each manager that is part of a deadlock logs it as a warning, typically within 5 s, at most within
/// 10 s. The waits go on, except those of locks and sets with
/// [`fail_on_deadlock`](crate::RwLock::fail_on_deadlock). `GUARANTEES.md` has what is found, and what
/// is not.
///
/// Prints as one sentence for operators, with the keys, their names and the processes.
///
/// # Examples
///
/// ```
/// use pglock_core::{Locks, Result};
///
/// async fn deadlocks(locks: &Locks) -> Result<Vec<String>> {
///     let locks = locks.inspect_all().await?;
///     let mut found: Vec<_> = locks.into_iter().filter_map(|lock| lock.deadlock).collect();
///     found.dedup();
///     Ok(found.iter().map(|deadlock| deadlock.to_string()).collect())
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Deadlock {
    /// Whether none of the waits can end unless a wait for one of these keys is given up. Otherwise,
    /// that is only likely: the task that waits has taken the other lock, but may have passed its
    /// guard on to another task, which releases it.
    pub is_certain: bool,
    /// The waits, each for the key that the next one holds, and the last one for that of the first.
    pub waits: Vec<DeadlockWait>,
}

/// A caller that keeps one lock while it waits for another: a part of a [`Deadlock`].
///
/// # Examples
///
/// ```
/// use pglock_core::DeadlockWait;
///
/// fn line(wait: &DeadlockWait) -> String {
///     format!("pid {} holds {} and waits for {}", wait.pid, wait.held, wait.awaited)
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct DeadlockWait {
    /// The key that the caller holds.
    pub held: LockKey,
    /// The name of that key, if a lock or guard of this manager uses it now.
    pub held_name: Option<Arc<str>>,
    /// The key that the caller waits for.
    pub awaited: LockKey,
    /// The name of that key, if a lock or guard of this manager uses it now.
    pub awaited_name: Option<Arc<str>>,
    /// The backend pid of a session of the process that the caller is in.
    pub pid: i32,
    /// Whether the caller uses the lock manager that was asked.
    pub is_ours: bool,
    /// The `application_name` of the session.
    pub application_name: String,
    /// The address of the client; `None` over a Unix socket, and if PostgreSQL hides it.
    pub client_addr: Option<IpAddr>,
}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, wait) in self.waits.iter().enumerate() {
            write!(f, "{}{wait}", if place == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl fmt::Display for DeadlockWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let process = Process {
            pid: self.pid,
            is_ours: self.is_ours,
            application_name: &self.application_name,
            client_addr: self.client_addr,
        };
        let held = ShownKey(self.held, self.held_name.as_deref());
        let awaited = ShownKey(self.awaited, self.awaited_name.as_deref());
        write!(f, "{process} holds {held} and waits for {awaited}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentence_has_keys_names_and_processes() {
        let ours = DeadlockWait {
            held: 1.into(),
            held_name: Some("one".into()),
            awaited: 2.into(),
            awaited_name: None,
            pid: 11,
            is_ours: true,
            application_name: "orders".to_owned(),
            client_addr: None,
        };
        let theirs = DeadlockWait {
            held: 2.into(),
            held_name: None,
            awaited: 1.into(),
            awaited_name: Some("one".into()),
            pid: 12,
            is_ours: false,
            client_addr: Some([10, 0, 0, 1].into()),
            ..ours.clone()
        };
        let deadlock = Deadlock { is_certain: false, waits: vec![ours, theirs] };
        assert_eq!(
            deadlock.to_string(),
            r#"this process (pid 11) holds "one" (1) and waits for 2, pid 12 "orders" from 10.0.0.1 holds 2 and waits for "one" (1)"#
        );
    }
}
