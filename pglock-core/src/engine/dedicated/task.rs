//! The task of a dedicated session: opens it, runs one statement at a time, and closes it.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::sleep_until;

use super::desk::Job;
use super::{Dedicated, Opened};
use crate::driver::{
    Driver, DriverError, Holding, Operation, Question, Reason, Request, Session, read_lock_row,
};
use crate::engine::machine::event::{Moment, ServerFacts};
use crate::engine::machine::lock_share;
use crate::engine::runtime::tasks::opening::{Opener, new_nonce};
use crate::engine::runtime::tasks::{CLOSE_TIMEOUT, OnDrop, farewell, spawn, unless_it_panics};
use crate::engine::runtime::tenure::{self, Keeper};
use crate::engine::runtime::{log, thread};
use crate::error::{Error, ErrorKind, Result};

/// How often in a row the server may refuse statements that the session cannot do without.
const MOST_REFUSALS: u8 = 3;

/// How much longer a wait must be than the server takes to look for a deadlock.
pub(super) const DEADLOCK_MARGIN: Duration = Duration::from_millis(50);

/// Starts the task, which reports to `opened` that the session is open, or why not.
pub(crate) fn start<D: Driver>(
    session: &Arc<Dedicated>,
    driver: Arc<D>,
    runtime: &Handle,
    opened: Opened,
) {
    // Made here, so that it runs even if the runtime drops the task before the first poll.
    let gone = OnDrop(Some({
        let session = session.clone();
        move || session.finish(Error::runtime_ended())
    }));
    let session_of_task = session.clone();
    let spawned = spawn(runtime, async move {
        let (gone, session) = (gone, session_of_task);
        let end = unless_it_panics(run(&session, &*driver, opened)).await;
        gone.disarm();
        session.finish(end.unwrap_or_else(Error::driver_panicked));
    });
    // This is the only place that sets it.
    let _ = session.abort.set(spawned.abort_handle());
}

/// Ends the session when its lease is over, whatever its task is doing.
async fn watch(session: Arc<Dedicated>) {
    while tenure::is_alive(&*session, &session.liveness) {
        let end = session.liveness.leased_until();
        sleep_until(session.shared.clock().instant(end)).await;
    }
}

async fn run<D: Driver>(session: &Arc<Dedicated>, driver: &D, opened: Opened) -> Error {
    let opener = Opener { driver, settings: &session.settings, shared: &session.shared };
    let nonce = new_nonce();
    let open = async {
        let (connection, server) = opener.open(&nonce, || session.shared.has_no_session()).await?;
        let mut task = Task {
            session,
            opener: &opener,
            nonce: &nonce,
            server,
            sent: session.now(),
            refusals: 0,
        };
        let connection = task.begin(connection).await?;
        Ok((task, connection))
    };
    let result = tokio::select! {
        biased;
        result = open => result,
        () = session.until_over() => Err(session.why_ended()),
    };
    let (mut task, connection) = match result {
        Ok(open) => open,
        Err(error) => {
            log::session_not_opened(&error);
            // The caller may be gone.
            let _ = opened.send(Err(error.clone()));
            return error;
        }
    };
    let watch =
        thread::runtime().map(|thread| spawn(thread, watch(session.clone())).abort_handle());
    let _unwatch = OnDrop(Some(|| watch.iter().for_each(|watch| watch.abort())));
    let _ = opened.send(Ok(()));
    let error = task.serve(connection).await.err().unwrap_or_else(Error::session_closed);
    log::session_ended(task.server.pid, &error);
    error
}

impl Dedicated {
    /// The task has ended.
    fn finish(&self, error: Error) {
        self.end(error);
        self.is_finished.send_replace(true);
    }

    async fn until_over(&self) {
        while !self.with_desk(|desk, _| desk.is_over()) {
            self.kick.notified().await;
        }
    }
}

pub(super) struct Task<'a, D> {
    pub(super) session: &'a Arc<Dedicated>,
    pub(super) opener: &'a Opener<'a, D>,
    pub(super) nonce: &'a Arc<str>,
    pub(super) server: ServerFacts,
    /// Send time of the last statement that the server answered.
    pub(super) sent: Moment,
    /// How many statements the server has refused in a row.
    refusals: u8,
}

impl<D: Driver> Task<'_, D> {
    /// Checks that the server would find deadlocks, and begins the lease.
    async fn begin(&mut self, mut connection: D::Session) -> Result<D::Session> {
        let lease = &self.session.settings.lease;
        if lease.guard - lease.heartbeat < self.server.deadlock_timeout + DEADLOCK_MARGIN {
            connection.close().await;
            return Err(Error::new(
                ErrorKind::InvalidOptions,
                "the server would not find deadlocks, because a dedicated session waits at most guard_lease less \
                 heartbeat at a time: make that longer than the server's deadlock_timeout",
            ));
        }
        let cap = self.session.registry.limits.max_locks;
        let cap = cap.unwrap_or_else(|| lock_share(self.server.lock_table));
        // The session is opened once.
        let _ = self.session.cap.set(cap);
        self.session.liveness.set_pid(self.server.pid);
        self.compare(&mut connection).await?;
        log::dedicated_session_opened(&self.server);
        Ok(connection)
    }

    /// Runs the session until it is closed, or returns why it has ended.
    async fn serve(&mut self, mut connection: D::Session) -> Result<()> {
        loop {
            let heartbeat = self.sent + self.session.heartbeat();
            let job = self.session.with_desk(|desk, now| {
                if now >= heartbeat { desk.heartbeat() } else { desk.next_job(now) }
            });
            match job {
                Job::Holdings => self.compare(&mut connection).await?,
                Job::Unlock(locks) => {
                    let unlock = |lock: &Holding| Operation::Unlock(lock.key, lock.mode);
                    let operations: Vec<_> = locks.iter().map(unlock).collect();
                    if let Some(results) = self.execute(&mut connection, &operations).await? {
                        self.session.with_desk(|desk, _| desk.unlocked(results.into_iter()));
                    }
                }
                Job::Try(lock) => {
                    let operation = Operation::TryLock(lock.key, lock.mode);
                    if let Some(results) = self.execute(&mut connection, &[operation]).await? {
                        self.session.with_desk(|desk, _| desk.tried(results.contains(&true)));
                    }
                }
                Job::Wait(lock, end) => self.wait(&mut connection, lock, end).await?,
                Job::Holders(key) => {
                    let question = Question::locks(self.nonce.clone(), Some(key));
                    let rows = connection.ask(&question).await;
                    let rows = rows.or_else(|error| survived(error).map(|_| Vec::new()))?;
                    let mut holders: Vec<_> = rows.iter().filter_map(read_lock_row).collect();
                    holders.retain(|entry| entry.granted);
                    let ours = self.session.registry.pids();
                    holders.iter_mut().for_each(|entry| entry.is_ours = ours.contains(&entry.pid));
                    self.session.with_desk(|desk, _| desk.timed_out(holders));
                }
                Job::Idle => {
                    tokio::select! {
                        biased;
                        () = self.session.kick.notified() => {}
                        error = connection.closed() => return Err(error.into()),
                        () = sleep_until(self.session.shared.clock().instant(heartbeat)) => {}
                    }
                }
                Job::Close => {
                    self.close(connection).await;
                    return Ok(());
                }
            }
        }
    }

    /// Compares what the session holds with what its guards have, and renews the lease.
    async fn compare(&mut self, connection: &mut D::Session) -> Result<()> {
        let sent = self.session.now();
        let rows = match connection.ask(&Question::holdings(self.nonce.clone())).await {
            Ok(rows) => rows,
            Err(error) => return self.refused(error, true),
        };
        let holdings = Holding::from_answer(&rows).ok_or_else(Error::session_moved)?;
        self.answered(sent);
        match self.session.with_desk(|desk, _| desk.found(&holdings)) {
            true => Ok(()),
            false => Err(Error::lock_taken_away()),
        }
    }

    /// `None`: the server has refused the statement.
    async fn execute(
        &mut self,
        connection: &mut D::Session,
        operations: &[Operation],
    ) -> Result<Option<Vec<bool>>> {
        let sent = self.session.now();
        let request = Request::operations(self.nonce.clone(), operations.iter().copied());
        match connection.run(&request).await {
            Ok(answer) => {
                let results = answer.results(operations.len()).ok_or_else(Error::session_moved)?;
                self.answered(sent);
                Ok(Some(results.collect()))
            }
            Err(error) => {
                let has_to = matches!(operations, [Operation::Unlock(..), ..]);
                self.refused(error, has_to)?;
                Ok(None)
            }
        }
    }

    /// The server refused a statement. `has_to`: the session cannot do without it.
    fn refused(&mut self, error: DriverError, has_to: bool) -> Result<()> {
        let reason = error.reason();
        let error = survived(error)?;
        self.refusals += 1;
        let is_last = self.refusals > MOST_REFUSALS;
        if has_to && is_last {
            return Err(error);
        }
        // The caller that asked for it gets the error, unless the session cannot do without it.
        let is_final = !has_to && (is_last || reason == Reason::Itself);
        self.session.with_desk(|desk, _| desk.refused(is_final.then_some(error)));
        Ok(())
    }

    /// The server has answered the statement that was sent at this time.
    pub(super) fn answered(&mut self, sent: Moment) {
        self.refusals = 0;
        self.sent = sent;
        self.session.liveness.renew(sent + self.session.settings.lease.guard);
    }

    async fn close(&self, mut connection: D::Session) {
        self.session.end(Error::session_closed());
        let request = Request::operations(self.nonce.clone(), [Operation::UnlockAll].into_iter());
        // The end of the session releases the locks, too.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, connection.run(&request)).await;
        farewell(connection, CLOSE_TIMEOUT).await;
    }
}

/// `Ok` with the error of a statement that the session survived, `Err` if the session has ended.
pub(super) fn survived(error: DriverError) -> Result<Error> {
    if error.session_goes_on() { Ok(error.into()) } else { Err(error.into()) }
}
