//! The state that the clones of an election share: one candidate, and whether it leads.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::watch;
use tracing::info;

#[cfg(feature = "metrics")]
use super::metrics::Published;
use crate::recipes::namespace;
use crate::{DistributedRwLock, Lease, LockProvider, NamedKey};

/// The role of a candidate.
///
/// # Examples
///
/// ```
/// use pglock_core::recipes::election::{Election, Role};
///
/// /// A line for a status page.
/// fn status(election: &Election) -> String {
///     let role = election.role();
///     assert_eq!(role.is_leading(), role != Role::Following);
///     match role {
///         Role::Leading { term, since, .. } => format!("leading, term {term}, since {since:?}"),
///         _ => "following".to_owned(),
///     }
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Role {
    /// It does not lead, whether it campaigns or not.
    Following,
    /// It leads.
    #[non_exhaustive]
    Leading {
        /// The number of this term among those of this candidate: the first one is 1.
        term: u64,
        /// When the term began, by the clock of this machine.
        since: SystemTime,
    },
}

impl Role {
    /// Whether it leads.
    pub fn is_leading(&self) -> bool {
        matches!(self, Self::Leading { .. })
    }
}

pub(super) struct Candidate {
    pub(super) locks: Arc<dyn LockProvider>,
    pub(super) name: Arc<str>,
    pub(super) key: NamedKey,
    /// Kept so that the name of the key stays known while the candidate exists.
    pub(super) lock: Box<dyn DistributedRwLock>,
    office: Mutex<Office>,
    /// Updated after the office, so it is never locked while the office is.
    roles: watch::Sender<Role>,
}

struct Office {
    terms: u64,
    tenure: Option<Tenure>,
}

struct Tenure {
    term: u64,
    since: SystemTime,
    lease: Lease,
    #[cfg(feature = "metrics")]
    _published: Published,
}

/// A candidate that leads until this is dropped.
#[derive(Debug)]
pub(super) struct InOffice {
    candidate: Arc<Candidate>,
    term: u64,
}

impl Candidate {
    pub(super) fn new(locks: Arc<dyn LockProvider>, name: &str) -> Self {
        let key = NamedKey::in_namespace(namespace::ELECTION, name);
        Self {
            lock: locks.rwlock(key.clone()),
            locks,
            name: name.into(),
            key,
            office: Mutex::new(Office { terms: 0, tenure: None }),
            roles: watch::Sender::new(Role::Following),
        }
    }

    /// By the clock.
    pub(super) fn role(&self) -> Role {
        // Outside the mutex: checking a lease may wake tasks that have lost their lock.
        let tenure =
            self.office().tenure.as_ref().map(|tenure| (tenure.role(), tenure.lease.clone()));
        match tenure {
            Some((role, lease)) if lease.is_held() => role,
            _ => Role::Following,
        }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Role> {
        self.roles.subscribe()
    }

    /// The candidate leads while this lease lasts, and no longer than until the result is dropped.
    pub(super) fn take_office(self: &Arc<Self>, lease: &Lease) -> InOffice {
        let (term, former) = {
            let mut office = self.office();
            office.terms += 1;
            let term = office.terms;
            let tenure = Tenure {
                term,
                since: SystemTime::now(),
                lease: lease.clone(),
                #[cfg(feature = "metrics")]
                _published: Published::new(&self.name),
            };
            (term, office.tenure.replace(tenure))
        };
        // A leadership whose lock is lost may still exist.
        self.log_end(former);
        info!(election = &*self.name, term, "leading");
        self.announce();
        let candidate = Arc::downgrade(self);
        lease.on_loss(move || {
            if let Some(candidate) = candidate.upgrade() {
                candidate.leave_office(term);
            }
        });
        InOffice { candidate: self.clone(), term }
    }

    fn leave_office(&self, term: u64) {
        let left = self.office().tenure.take_if(|tenure| tenure.term == term);
        if left.is_some() {
            self.log_end(left);
            self.announce();
        }
    }

    fn log_end(&self, left: Option<Tenure>) {
        if let Some(Tenure { term, .. }) = left {
            info!(election = &*self.name, term, "no longer leading");
        }
    }

    /// Updates the channel. Several threads may do so at once: the last one sees the latest state.
    fn announce(&self) {
        let update = |role: &mut Role| {
            let now = self.office().tenure.as_ref().map_or(Role::Following, Tenure::role);
            std::mem::replace(role, now) != now
        };
        // A waker of the application may panic, but the panic must not leave a drop.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.roles.send_if_modified(update))) {
            // Dropping it might panic, too.
            std::mem::forget(panic);
        }
    }

    fn office(&self) -> MutexGuard<'_, Office> {
        self.office.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tenure {
    fn role(&self) -> Role {
        Role::Leading { term: self.term, since: self.since }
    }
}

impl InOffice {
    pub(super) fn candidate(&self) -> &Arc<Candidate> {
        &self.candidate
    }

    pub(super) fn term(&self) -> u64 {
        self.term
    }
}

impl Drop for InOffice {
    fn drop(&mut self) {
        self.candidate.leave_office(self.term);
    }
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidate")
            .field("name", &self.name)
            .field("role", &self.role())
            .finish_non_exhaustive()
    }
}
