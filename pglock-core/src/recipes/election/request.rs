//! Asking a leader to resign.
//!
//! The asking process holds the read lock on a key that belongs to the leader's session, until
//! another session leads. The leader checks whether any session holds it. So a request ends with
//! the process that makes it, and the next leader does not mistake it for its own.

use std::future::pending;
use std::time::Duration;

use super::Election;
use super::candidate::Candidate;
use crate::recipes::namespace;
use crate::{ErrorKind, LockEntry, Mode, NamedKey, Result, timer};

/// How often a leader checks for requests.
const LISTEN: Duration = Duration::from_secs(1);
/// How often the asking process checks whether the leader is gone.
const LOOK: Duration = Duration::from_millis(200);

impl Election {
    /// Asks the leader to resign, and waits until it no longer leads. Returns at once if there is
    /// no leader.
    ///
    /// This is only a request. The leader notices it if it awaits
    /// [`Leadership::asked_to_resign`](super::Leadership::asked_to_resign) or
    /// [`Term::asked_to_resign`](super::Term::asked_to_resign), within about a second, and may
    /// ignore it. So bound this call by a timeout. If the leader campaigns again at once and no
    /// other process does, it leads again: then this may return, or keep asking.
    ///
    /// The request is withdrawn when this call returns, and when this process ends in any way. Any
    /// number of processes may ask.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future withdraws the request.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use pglock_core::{Result, recipes::election::Election};
    /// use std::time::Duration;
    ///
    /// use tokio::time::timeout;
    ///
    /// /// False if the leader did not resign within half a minute.
    /// async fn move_leader(election: &Election) -> Result<bool> {
    ///     match timeout(Duration::from_secs(30), election.ask_to_resign()).await {
    ///         Ok(asked) => asked.map(|()| true),
    ///         Err(_) => Ok(false),
    ///     }
    /// }
    /// ```
    pub async fn ask_to_resign(&self) -> Result<()> {
        let Some(asked) = self.leader().await? else {
            return Ok(());
        };
        let request = self.candidate.locks.rwlock(self.candidate.request_key(&asked));
        loop {
            let guard = request.read().await?;
            match guard.protect(self.until_gone(&asked)).await {
                // The request was lost with its session: make it again.
                Err(error) if error.kind() == ErrorKind::Lost => {}
                gone => return gone?,
            }
        }
    }

    async fn until_gone(&self, asked: &LockEntry) -> Result<()> {
        while self.leader().await?.is_some_and(|leader| is_same(&leader, asked)) {
            timer::sleep(LOOK)?.await;
        }
        Ok(())
    }
}

impl Candidate {
    /// Completes when another process asks this candidate, which leads, to resign.
    pub(super) async fn asked_to_resign(&self) {
        // A leadership never moves from one session to another.
        let mut key = None;
        loop {
            if self.is_asked(&mut key).await.unwrap_or(false) {
                return;
            }
            match timer::sleep(LISTEN) {
                Ok(sleep) => sleep.await,
                // Without an engine, there is no session to ask.
                Err(_) => pending().await,
            }
        }
    }

    async fn is_asked(&self, key: &mut Option<NamedKey>) -> Result<bool> {
        if key.is_none() {
            *key = self.leader().await?.map(|leader| self.request_key(&leader));
        }
        let Some(key) = key.clone() else {
            return Ok(false);
        };
        let requests = self.locks.inspect(key).await?;
        Ok(requests.iter().any(|request| request.granted && request.mode == Mode::Read))
    }

    fn request_key(&self, leader: &LockEntry) -> NamedKey {
        request_key(&self.name, leader.pid)
    }
}

/// The key of requests to the session with this backend pid.
pub(in crate::recipes) fn request_key(name: &str, pid: i32) -> NamedKey {
    NamedKey::in_namespace(namespace::ELECTION_RESIGN, &format!("{name}/{pid}"))
}

/// PostgreSQL reuses pids, but hardly for a session that began at the same time.
fn is_same(one: &LockEntry, other: &LockEntry) -> bool {
    (one.pid, one.since) == (other.pid, other.since)
}
