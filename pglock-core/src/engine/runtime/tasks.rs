//! The tasks: the manager opens sessions and keeps time, each session task owns a connection.

mod opening;

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing::Dispatch;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use super::Shared;
use super::liveness::Life;
use crate::driver::{Driver, Holding, Question, Request, Session, read_lock_row};
use crate::engine::machine::config::Lease;
use crate::engine::machine::event::{Event, Job, Refusal, Server, SessionId};
use crate::error::{Error, ErrorKind};

/// How long closing waits for the server before connections are dropped.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a session needs to know to be opened.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) application_name: Arc<str>,
    pub(crate) connect_timeout: Duration,
    pub(crate) lease: Lease,
    /// Where the engine's tasks run, unless on the engine thread.
    pub(crate) runtime: Option<Handle>,
}

/// Starts the manager. It ends when the machine is closed, or with the runtime that a user named.
pub(crate) fn start_manager<D: Driver>(
    shared: &Arc<Shared>,
    thread: &Handle,
    driver: &Arc<D>,
    settings: &Arc<Settings>,
) {
    // Made here, so that it acts even if the runtime drops the task before it has begun.
    let gone = OnDrop(Some({
        let shared = shared.clone();
        move || shared.manager_gone()
    }));
    if settings.runtime.is_some() {
        spawn(thread, keep_time(shared.clone()));
    }
    let (shared, driver, settings) = (shared.clone(), driver.clone(), settings.clone());
    let runtime = settings.runtime.clone();
    let manage = async move {
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
            super::thread::guarded(|| {
                super::metrics::publish(&shared.stats(), &settings.application_name)
            });
            shared.called(chores.alarm).await;
        }
    };
    spawn(runtime.as_ref().unwrap_or(thread), manage);
}

/// Keeps time for a manager whose own runtime may be blocked, so that guards stop believing and
/// callers time out.
async fn keep_time(shared: Arc<Shared>) {
    while let Some(alarm) = shared.keep() {
        shared.keeper_called(alarm).await;
    }
}

/// Spawns a task that logs to where its creator does.
fn spawn(runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let log = tracing::dispatcher::get_default(Dispatch::clone);
    // Whoever logs nowhere now may set a global default later.
    match log.is::<NoSubscriber>() {
        true => runtime.spawn(task),
        false => runtime.spawn(task.with_subscriber(log)),
    }
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
        move || shared.session_gone(id, stopped(id))
    }));
    let task = SessionTask {
        shared: shared.clone(),
        settings: settings.clone(),
        id,
        life,
        kick,
        nonce: opening::nonce(id),
    };
    let driver = driver.clone();
    let spawned = spawn(&Handle::current(), async move {
        let gone = gone;
        let mut run = pin!(task.run(&*driver));
        let event = poll_fn(|cx| {
            match catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(cx))) {
                Ok(event) => event,
                Err(panic) => {
                    // To drop it might panic, too.
                    std::mem::forget(panic);
                    Poll::Ready(panicked(id, &task.life))
                }
            }
        })
        .await;
        gone.disarm();
        task.shared.session_gone(id, event);
    });
    shared.session_spawned(id, spawned.abort_handle());
}

/// What to tell the machine of a session whose task did not run to its end, because its runtime has
/// ended. That is no outage: nobody could connect.
fn stopped(session: SessionId) -> Event {
    let error = Error::new(ErrorKind::NoRuntime, "the session's task was stopped");
    Event::Ended { session, error }
}

/// What to tell the machine of a session whose driver has panicked.
fn panicked(session: SessionId, life: &Life) -> Event {
    let error = Error::new(
        ErrorKind::Driver,
        "the driver panicked, with a message on standard error: a runtime that is named when building the \
         lock manager needs timers and I/O (enable_all), and a set-up hook of connections must not panic",
    );
    match life.pid() {
        Some(_) => Event::Ended { session, error },
        // It would do so again.
        None => Event::OpenFailed { session, error, permanent: true },
    }
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
                if server.has_lease == Some(false) {
                    tracing::warn!(
                        pid,
                        version = server.version,
                        "the server has no lease: it keeps the locks of a client that is stopped or cut off (PostgreSQL 14 and later have one)"
                    );
                }
                if !server.can_cancel {
                    tracing::warn!(
                        pid,
                        "the role may not cancel the statements of its own sessions, as after SET ROLE: busy locks are polled instead of waited for in the server's queue"
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

    async fn serve(&self, mut connection: impl Session, server: Server) -> Error {
        let session = self.id;
        self.shared.step(Event::Opened { session, server });
        loop {
            let answer = match self.shared.turn(session) {
                Job::Run(operations) => {
                    let request = Request::operations(self.nonce.clone(), operations.into_iter());
                    let answer = connection.run(&request).await;
                    answer.map(|answer| Event::Answered { session, answer })
                }
                Job::Holdings => {
                    let rows = connection.ask(&Question::holdings(self.nonce.clone())).await;
                    rows.map(|rows| Event::Found { session, holdings: Holding::from_answer(&rows) })
                }
                Job::Look(key) => {
                    let rows = connection.ask(&Question::locks(self.nonce.clone(), key)).await;
                    rows.map(|rows| {
                        let locks = rows.iter().filter_map(read_lock_row).collect();
                        Event::Seen { session, locks }
                    })
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
            let woken = self.shared.step(match answer {
                Ok(event) => event,
                Err(error) if error.session_goes_on() => {
                    let reason = error.reason();
                    let refusal = Refusal { error: error.into(), reason };
                    Event::Refused { session, refusal }
                }
                Err(error) => return error.into(),
            });
            // They may want something at once, and the more a statement carries, the less each
            // operation costs. For one it does not pay: to requeue wakes another worker of the
            // runtime.
            if woken > 1 {
                requeue().await;
            }
        }
    }
}

/// Closes the session, or drops its connection if that takes too long.
async fn farewell(session: impl Session, limit: Duration) {
    let _ = tokio::time::timeout(limit, session.close()).await;
}

/// Lets the tasks run that are ready now, without the look at the clock and the sockets that
/// yielding to the runtime costs.
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
