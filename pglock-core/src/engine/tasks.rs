//! The tasks: the manager opens sessions and keeps time, each session task owns a connection.

use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;

use super::event::{Event, Job, Server, SessionId};
use super::life::Life;
use super::limits::Lease;
use super::shared::Shared;
use crate::driver::{Driver, DriverError, Fact, Holding, Question, Request, Row, Session};
use crate::error::{Error, ErrorKind};
use crate::looking::LockEntry;

/// How long closing waits for the server before connections are dropped.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long another session is waited for, where a pooler or a pool may have none to give; and its farewell.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// What a session needs to know to be opened.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) application_name: Arc<str>,
    pub(crate) connect_timeout: Duration,
    pub(crate) lease: Lease,
}

/// Starts the manager on the current runtime. It ends when the machine is closed, or with the runtime.
pub(crate) fn start_manager<D: Driver>(
    shared: &Arc<Shared>,
    driver: &Arc<D>,
    settings: &Arc<Settings>,
) {
    // Made here, so that it acts even if the runtime drops the task before it has begun.
    let gone = OnDrop(Some({
        let shared = shared.clone();
        move || shared.manager_gone()
    }));
    let (shared, driver, settings) = (shared.clone(), driver.clone(), settings.clone());
    tokio::spawn(async move {
        let _gone = gone;
        loop {
            let chores = shared.chores();
            for id in chores.open {
                start_session(&shared, &driver, &settings, id);
            }
            if chores.finished {
                return;
            }
            #[cfg(feature = "metrics")]
            super::metrics::publish(&shared.stats(), &settings.application_name);
            shared.called(chores.alarm).await;
        }
    });
}

fn start_session<D: Driver>(
    shared: &Arc<Shared>,
    driver: &Arc<D>,
    settings: &Arc<Settings>,
    id: SessionId,
) {
    let (life, kick) = shared.session_starts(id);
    let gone = OnDrop(Some({
        let shared = shared.clone();
        move || {
            let error = Error::new(ErrorKind::Connection, "the session's task was stopped");
            shared.session_gone(id, Event::Ended { session: id, error });
        }
    }));
    let task = SessionTask {
        shared: shared.clone(),
        settings: settings.clone(),
        id,
        life,
        kick,
        nonce: nonce(id),
    };
    let driver = driver.clone();
    let spawned = tokio::spawn(async move {
        let gone = gone;
        let event = task.run(&*driver).await;
        gone.disarm();
        task.shared.session_gone(id, event);
    });
    shared.session_spawned(id, spawned.abort_handle());
}

struct SessionTask {
    shared: Arc<Shared>,
    settings: Arc<Settings>,
    id: SessionId,
    life: Arc<Life>,
    kick: Arc<Notify>,
    nonce: Arc<str>,
}

impl SessionTask {
    /// Runs the session to its end and returns what to tell the machine.
    async fn run<D: Driver>(&self, driver: &D) -> Event {
        let session = self.id;
        match self.open(driver).await {
            Ok((connection, server)) => {
                let pid = server.pid;
                self.life.set_pid(pid);
                tracing::debug!(pid, "lock session opened");
                if !server.has_lease {
                    tracing::warn!(
                        pid,
                        version = server.version,
                        "the server has no lease: it keeps the locks of a client that is stopped or cut off (PostgreSQL 14 and later have one)"
                    );
                }
                let error = self.serve(connection, server).await;
                tracing::debug!(pid, %error, "lock session ended");
                Event::Ended { session, error }
            }
            Err(error) => {
                tracing::debug!(%error, "lock session could not be opened");
                let permanent = matches!(
                    error.kind(),
                    ErrorKind::InvalidOptions
                        | ErrorKind::PermissionDenied
                        | ErrorKind::UnsupportedServer
                );
                Event::OpenFailed { session, error, permanent }
            }
        }
    }

    async fn open<D: Driver>(&self, driver: &D) -> Result<(D::Session, Server), Error> {
        let open = async {
            let (mut connection, server) = self.connect(driver, self.nonce.clone()).await?;
            if self.shared.is_lone()
                && let Err(error) = self.probe(driver).await
            {
                // Opened once more, it takes its settings back. The pooler may do that elsewhere, or refuse.
                let _ = connection.ask(&self.opening(self.nonce.clone())).await;
                connection.close().await;
                return Err(error);
            }
            Ok((connection, server))
        };
        let timeout = self.settings.connect_timeout;
        tokio::time::timeout(timeout, open).await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Connection,
                "the server did not answer within the time allowed for connecting",
            ))
        })
    }

    async fn connect<D: Driver>(
        &self,
        driver: &D,
        nonce: Arc<str>,
    ) -> Result<(D::Session, Server), Error> {
        let mut connection = driver.connect().await?;
        let facts = connection.ask(&self.opening(nonce)).await.map_err(DriverError::at_open)?;
        match check(&facts) {
            Ok(server) => Ok((connection, server)),
            Err(error) => {
                connection.close().await;
                Err(error)
            }
        }
    }

    fn opening(&self, nonce: Arc<str>) -> Question {
        let Settings { application_name, lease, .. } = &*self.settings;
        let name = application_name.clone();
        let trial = (RandomState::new().hash_one(self.id) >> 1).cast_signed();
        Question::open(nonce, name, lease.server, lease.acknowledgement(), trial)
    }

    /// Whether another connection is another session.
    ///
    /// On a transaction pooler that nobody else uses, all statements of a connection run in one server session, and nothing is amiss until
    /// somebody comes. So somebody comes. Two sessions of a manager do that for each other.
    async fn probe<D: Driver>(&self, driver: &D) -> Result<(), Error> {
        let other = self.connect(driver, nonce(self.id));
        match tokio::time::timeout(PROBE_TIMEOUT, other).await {
            Ok(Ok((other, _))) => {
                farewell(other, PROBE_TIMEOUT).await;
                Ok(())
            }
            Ok(Err(error)) if error.kind() == ErrorKind::UnsupportedServer => Err(error),
            // There may be no room for another session. That says nothing about this one.
            Ok(Err(error)) => {
                tracing::debug!(%error, "no other session to compare with");
                Ok(())
            }
            Err(_) => {
                tracing::debug!("no other session to compare with in time");
                Ok(())
            }
        }
    }

    async fn serve(&self, mut connection: impl Session, server: Server) -> Error {
        let session = self.id;
        let mut event = Some(Event::Opened { session, server });
        let mut rested = false;
        loop {
            let answer = match self.shared.turn(session, event.take()) {
                Job::Run(operations) => {
                    let request = Request::operations(self.nonce.clone(), operations.into_iter());
                    let rows = connection.run(&request).await;
                    rows.map(|rows| Event::Answered { session, rows })
                }
                Job::Holdings => {
                    let rows = connection.ask(&Question::holdings(self.nonce.clone())).await;
                    rows.map(|rows| Event::Found { session, holdings: Holding::from_answer(&rows) })
                }
                Job::Look(key) => {
                    let rows = connection.ask(&Question::locks(self.nonce.clone(), key)).await;
                    rows.map(|rows| {
                        let locks = rows.iter().filter_map(LockEntry::from_row).collect();
                        Event::Seen { session, locks }
                    })
                }
                // Whoever the last answer has woken may want something at once: to watch the socket first would cost more than to look again.
                Job::Idle if !rested => {
                    requeue().await;
                    rested = true;
                    continue;
                }
                Job::Idle => {
                    tokio::select! {
                        biased;
                        () = self.kick.notified() => continue,
                        error = connection.closed() => return error.into(),
                    }
                }
                Job::Close => {
                    farewell(connection, CLOSE_TIMEOUT).await;
                    return Error::closed();
                }
            };
            rested = false;
            event = Some(match answer {
                Ok(event) => event,
                Err(error) if error.session_goes_on() => {
                    Event::Refused { session, error: error.into() }
                }
                Err(error) => return error.into(),
            });
        }
    }
}

/// Closes the session, or drops its connection if that takes too long.
async fn farewell(session: impl Session, limit: Duration) {
    let _ = tokio::time::timeout(limit, session.close()).await;
}

/// Lets the tasks run that are ready now, without the look at the clock and the sockets that yielding to the runtime costs.
async fn requeue() {
    let mut requeued = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut requeued, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Whether locks mean anything in this session, and what there is to know of its server.
fn check(facts: &[Row]) -> Result<Server, Error> {
    let unsupported = |why: &'static str| Err(Error::new(ErrorKind::UnsupportedServer, why));
    if Fact::InRecovery.find(facts) != Some(0) {
        return unsupported(
            "the server is a standby, whose locks exclude nobody on the primary: connect to the primary",
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
        return unsupported("the server does not tell its backend pid");
    };
    let fact = |fact: Fact| fact.find(facts).unwrap_or_default();
    Ok(Server {
        pid,
        version: fact(Fact::Version),
        has_lease: fact(Fact::Lease) > 0,
        lock_table: Fact::LockTable.find(facts).and_then(|entries| usize::try_from(entries).ok()),
        identity: (fact(Fact::System), fact(Fact::Database)),
        timeline: fact(Fact::Timeline),
    })
}

/// Tells this session from all others. It need not be secret.
fn nonce(id: SessionId) -> Arc<str> {
    // Seeded by the system, so that the hash is as good as random.
    format!("{:016x}", RandomState::new().hash_one(id)).into()
}

struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> OnDrop<F> {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(act) = self.0.take() {
            act();
        }
    }
}
