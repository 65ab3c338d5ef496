//! Leader election: of the processes that stand for election, one leads.

use std::sync::Arc;

use super::namespace;
use crate::{LockEntry, LockProvider, Locks, NamedKey, Result};

/// An election: candidates with the same name, in any number of processes, have one leader.
///
/// Cheap to make and to clone.
///
/// # Examples
///
/// ```
/// use pglock_core::{Locks, Result};
///
/// /// Who leads, for `GET /leader`.
/// async fn leader(locks: &Locks) -> Result<String> {
///     let leader = locks.election("scheduler").leader().await?;
///     Ok(leader.map_or_else(|| "nobody".to_owned(), |leader| leader.application_name))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Election {
    locks: Arc<dyn LockProvider>,
    key: NamedKey,
}

impl Locks {
    /// The election of this name, on the locks of this manager. Does no I/O.
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
    /// The election of this name, on the locks of any backend. Does no I/O.
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
        Self { locks, key: NamedKey::in_namespace(namespace::ELECTION, name) }
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
        &self.key
    }

    /// Asks the server who leads: `None` if nobody does.
    ///
    /// A leader is known by the `application_name` of its manager, its address and its backend pid.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future leaves nothing behind.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`](crate::ErrorKind).
    pub async fn leader(&self) -> Result<Option<LockEntry>> {
        let entries = self.locks.inspect(self.key.clone()).await?;
        Ok(entries.into_iter().find(|entry| entry.granted))
    }
}
