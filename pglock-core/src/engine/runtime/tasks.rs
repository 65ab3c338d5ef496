//! The tasks: the manager opens sessions and keeps time, and each session task owns a connection.

pub(crate) mod opening;

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

use self::opening::{Opener, new_nonce};
use super::liveness::Liveness;
use super::{Shared, log};
use crate::driver::{
    Driver, Holding, Question, Reason, Request, Session, read_lock_row, read_token,
};
use crate::engine::machine::config::Lease;
use crate::engine::machine::event::{Event, Job, Refusal, ServerFacts, SessionId};
use crate::error::{Error, ErrorKind};

/// How long closing waits for the server before it drops the connections.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What is needed to open a session.
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
    // Made here, so that it also acts if the runtime drops the task before it starts.
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
            if chores.is_finished {
                return;
            }
            #[cfg(feature = "metrics")]
            super::thread::catch_panic(|| {
                super::metrics::publish(&shared.stats(), &settings.application_name)
            });
            shared.manager_called(chores.alarm).await;
        }
    };
    spawn(runtime.as_ref().unwrap_or(thread), manage);
}

/// Keeps time while the runtime of the manager is blocked, so that leases end and callers time out.
async fn keep_time(shared: Arc<Shared>) {
    while let Some(alarm) = shared.keeper_tick() {
        shared.keeper_called(alarm).await;
    }
}

/// Spawns a task that logs to the subscriber of its creator.
pub(crate) fn spawn(
    runtime: &Handle,
    task: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let log = tracing::dispatcher::get_default(Dispatch::clone);
    // An application without a subscriber may set a global one later.
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
    let (liveness, kick) = shared.session_starts(id);
    let gone = OnDrop(Some({
        let shared = shared.clone();
        move || shared.session_gone(id, stopped(id))
    }));
    let task = SessionTask {
        shared: shared.clone(),
        settings: settings.clone(),
        id,
        liveness,
        kick,
        nonce: new_nonce(),
    };
    let driver = driver.clone();
    let spawned = spawn(&Handle::current(), async move {
        let gone = gone;
        let event = unless_it_panics(task.run(&*driver)).await;
        let event = event.unwrap_or_else(|| panicked(id, &task.liveness));
        gone.disarm();
        task.shared.session_gone(id, event);
    });
    shared.session_spawned(id, spawned.abort_handle());
}

/// The output of a future that runs a driver, or `None` if it panics.
pub(crate) async fn unless_it_panics<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(output) => output.map(Some),
        Err(panic) => {
            // Dropping it might panic, too.
            std::mem::forget(panic);
            Poll::Ready(None)
        }
    })
    .await
}

/// The event for a session whose task was dropped because its runtime has ended. This is no outage
/// of the server.
fn stopped(session: SessionId) -> Event {
    let error = Error::new(ErrorKind::NoRuntime, "the session's task was stopped");
    Event::Ended { session, error }
}

/// The event for a session whose driver has panicked.
fn panicked(session: SessionId, liveness: &Liveness) -> Event {
    let error = Error::driver_panicked();
    match liveness.pid() {
        Some(_) => Event::Ended { session, error },
        // The driver would panic again.
        None => Event::OpenFailed { session, error, permanent: true },
    }
}

struct SessionTask {
    shared: Arc<Shared>,
    settings: Arc<Settings>,
    id: SessionId,
    liveness: Arc<Liveness>,
    kick: Arc<Notify>,
    nonce: Arc<str>,
}

impl SessionTask {
    /// Runs the session to its end, and returns that event.
    async fn run<D: Driver>(&self, driver: &D) -> Event {
        let session = self.id;
        let opener = Opener { driver, settings: &self.settings, shared: &self.shared };
        match opener.open(&self.nonce, || self.shared.is_lone()).await {
            Ok((connection, server)) => {
                let pid = server.pid;
                self.liveness.set_pid(pid);
                log::session_opened(&server);
                let error = self.serve(connection, server).await;
                log::session_ended(pid, &error);
                Event::Ended { session, error }
            }
            Err(error) => {
                log::session_not_opened(&error);
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

    async fn serve(&self, mut connection: impl Session, server: ServerFacts) -> Error {
        let session = self.id;
        self.shared.step(Event::Opened { session, server });
        loop {
            let answer = match self.shared.next_job(session) {
                Job::Run(operations) => {
                    let request = Request::operations(self.nonce.clone(), operations.into_iter());
                    let answer = connection.run(&request).await;
                    answer.map(|answer| Event::Answered { session, answer })
                }
                Job::Holdings => {
                    let rows = connection.ask(&Question::holdings(self.nonce.clone())).await;
                    rows.map(|rows| Event::Found { session, holdings: Holding::from_answer(&rows) })
                }
                Job::Inspect(key) => {
                    let rows = connection.ask(&Question::locks(self.nonce.clone(), key)).await;
                    rows.map(|rows| {
                        let locks = rows.iter().filter_map(read_lock_row).collect();
                        Event::Inspected { session, locks }
                    })
                }
                Job::Token => {
                    let rows = connection.ask(&Question::token(self.nonce.clone())).await;
                    rows.map(|rows| match read_token(&rows).transpose() {
                        Ok(token) => Event::Minted { session, token },
                        Err(error) => Event::Refused {
                            session,
                            refusal: Refusal { error, reason: Reason::Itself },
                        },
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
            // These callers may ask for something at once, and the more operations a statement
            // carries, the less each one costs. For a single caller this is not worth it, because
            // requeueing wakes another worker of the runtime.
            if woken > 1 {
                requeue().await;
            }
        }
    }
}

/// Closes the session, or drops its connection if that takes too long.
pub(crate) async fn farewell(session: impl Session, limit: Duration) {
    let _ = tokio::time::timeout(limit, session.close()).await;
}

/// Lets the tasks run that are ready now. Yielding to the runtime would also check the clock and
/// the sockets, which costs more.
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

/// Acts when dropped, unless disarmed.
pub(crate) struct OnDrop<F: FnOnce()>(pub(crate) Option<F>);

impl<F: FnOnce()> OnDrop<F> {
    pub(crate) fn disarm(mut self) {
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
