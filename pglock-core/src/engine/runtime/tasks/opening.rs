//! Opens a session, and checks that locks work in it.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use super::{Settings, farewell};
use crate::driver::{Driver, DriverError, Fact, Question, Row, Session};
use crate::engine::machine::event::ServerFacts;
use crate::engine::runtime::{Shared, log};
use crate::error::{Error, ErrorKind};

/// How long to wait for a second session, and for its close; a pooler or a pool may not have one.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Opens the sessions of one manager.
pub(crate) struct Opener<'a, D> {
    pub(crate) driver: &'a D,
    pub(crate) settings: &'a Settings,
    pub(crate) shared: &'a Shared,
}

impl<D: Driver> Opener<'_, D> {
    /// `is_lone`: whether the manager has no other session to compare this one with.
    pub(crate) async fn open(
        &self,
        nonce: &Arc<str>,
        is_lone: impl FnOnce() -> bool,
    ) -> Result<(D::Session, ServerFacts), Error> {
        let open = async {
            let (mut connection, server) = self.connect(nonce).await?;
            if is_lone()
                && let Err(error) = self.probe().await
            {
                // If the server session is asked to open a second time, it undoes its settings,
                // unless the pooler runs this in another session, or refuses.
                let _ = connection.ask(&self.opening(nonce)).await;
                connection.close().await;
                return Err(error);
            }
            Ok((connection, server))
        };
        let timeout = self.settings.connect_timeout;
        tokio::time::timeout(timeout, open).await.unwrap_or_else(|_| {
            Err(match self.shared.clock().is_ahead() {
                true => Error::clock_paused(),
                false => Error::new(
                    ErrorKind::Connection,
                    "the server did not answer within the time allowed for connecting: the network or the server is down or overloaded",
                ),
            })
        })
    }

    /// Opens a session without comparing it with another one.
    pub(crate) async fn connect(
        &self,
        nonce: &Arc<str>,
    ) -> Result<(D::Session, ServerFacts), Error> {
        let mut connection = self.driver.connect().await.map_err(DriverError::at_open)?;
        let facts = connection.ask(&self.opening(nonce)).await.map_err(DriverError::at_open)?;
        match check(&facts) {
            Ok(server) => Ok((connection, server)),
            Err(error) => {
                connection.close().await;
                Err(error)
            }
        }
    }

    fn opening(&self, nonce: &Arc<str>) -> Question {
        let Settings { application_name, lease, .. } = self.settings;
        let name = application_name.clone();
        let trial = (RandomState::new().hash_one(nonce) >> 1).cast_signed();
        Question::open(nonce.clone(), name, lease.server, lease.acknowledgement(), trial)
    }

    /// Whether another connection reaches another session.
    ///
    /// On a transaction pooler without other clients, all statements of a connection run in one
    /// server session, and the problem shows only when a second client connects, so we connect one.
    /// Later, the manager's own sessions reveal it to each other.
    async fn probe(&self) -> Result<(), Error> {
        let nonce = new_nonce();
        let other = self.connect(&nonce);
        match tokio::time::timeout(PROBE_TIMEOUT, other).await {
            Ok(Ok((other, _))) => {
                farewell(other, PROBE_TIMEOUT).await;
                Ok(())
            }
            Ok(Err(error)) if error.kind() == ErrorKind::UnsupportedServer => Err(error),
            // There may be no room for a second session, which says nothing about the first.
            Ok(Err(error)) => {
                log::no_other_session(Some(&error));
                Ok(())
            }
            Err(_) => {
                log::no_other_session(None);
                Ok(())
            }
        }
    }
}

/// Reads the facts about the server, or returns why locks in this session exclude no other session.
fn check(facts: &[Row]) -> Result<ServerFacts, Error> {
    let unsupported = |why: &'static str| Err(Error::new(ErrorKind::UnsupportedServer, why));
    if Fact::InRecovery.find(facts) != Some(0) {
        return unsupported(
            "the server is a standby, whose locks exclude nothing on the primary: connect to the primary",
        );
    }
    if Fact::EarlierSession.find(facts) != Some(0) {
        return unsupported(
            "another lock session uses the same server session, as behind a pooler in transaction or statement mode: \
             connect to PostgreSQL directly or through a pooler in session mode",
        );
    }
    if Fact::LocksWork.find(facts) == Some(0) {
        return unsupported(
            "advisory locks do nothing on this server: use PostgreSQL, or an engine whose session-level advisory locks work",
        );
    }
    let Some(pid) = Fact::Pid.find(facts).and_then(|pid| i32::try_from(pid).ok()) else {
        return unsupported(
            "the server does not report its backend pid: use PostgreSQL, or an engine that does",
        );
    };
    let fact = |fact: Fact| fact.find(facts).unwrap_or_default();
    Ok(ServerFacts {
        pid,
        version: fact(Fact::Version),
        has_lease: Fact::Lease.find(facts).map(|lease| lease > 0),
        deadlock_timeout: Duration::from_millis(fact(Fact::DeadlockTimeout).unsigned_abs()),
        can_cancel: Fact::CanCancel.find(facts) != Some(0),
        lock_table: Fact::LockTable.find(facts).and_then(|entries| usize::try_from(entries).ok()),
        identity: (fact(Fact::System), fact(Fact::Database)),
        timeline: fact(Fact::Timeline),
    })
}

/// Distinguishes this session from all others. It need not be secret.
pub(crate) fn new_nonce() -> Arc<str> {
    // The system seeds the hash, which makes it as good as random.
    format!("{:016x}", RandomState::new().hash_one(std::process::id())).into()
}
