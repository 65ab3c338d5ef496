//! The in-memory server behind the interface that adapters implement.

use std::sync::Arc;
use std::time::Duration;

use pglock_core::LockKey;
use pglock_core::driver::{
    Answer, Driver, DriverError, Fact, Operation, Question, Request, Row, Session, Topic, lock_row,
};
use tokio::sync::{oneshot, watch};
use tokio::task::consume_budget;
use tokio::time::{sleep, timeout};

use super::MemoryServer;
use super::state::{Done, Pid, State, Waited};

/// The version of the server that the lock table imitates.
const VERSION: i64 = 180_000;

/// Opens sessions on a [`MemoryServer`].
#[derive(Clone, Debug)]
pub struct MemoryDriver {
    server: MemoryServer,
}

/// A session of a [`MemoryServer`]. Ends when dropped.
#[derive(Debug)]
pub struct MemorySession {
    server: MemoryServer,
    pid: Pid,
    ends: watch::Receiver<()>,
    /// The nonce of the requests that are meant for this session; known once it was opened.
    nonce: Option<Arc<str>>,
}

impl From<MemoryServer> for MemoryDriver {
    fn from(server: MemoryServer) -> Self {
        Self { server }
    }
}

impl Driver for MemoryDriver {
    type Session = MemorySession;

    async fn connect(&self) -> Result<MemorySession, DriverError> {
        self.server.answer_time().await;
        MemorySession::start(&self.server)
    }
}

impl MemorySession {
    /// A session that has not been opened yet.
    pub(super) fn start(server: &MemoryServer) -> Result<Self, DriverError> {
        let mut state = server.state();
        if state.refuses_connections {
            return Err(DriverError::connection("the memory server refuses connections")
                .with_sqlstate(Some("57P03".to_owned())));
        }
        let (pid, ends) = state.connect();
        Ok(Self { server: server.clone(), pid, ends, nonce: None })
    }

    /// Does one operation, waiting up to the limit if it must.
    pub(super) async fn execute(
        &self,
        operation: Operation,
        limit: Option<Duration>,
    ) -> Result<bool, DriverError> {
        let done = self.with(|state| {
            if state.refuses_statements {
                return Err(refused("the memory server refuses statements", "55000"));
            }
            if state.refuses_cancels && matches!(operation, Operation::Cancel(_)) {
                return Err(refused("the memory server refuses cancels", "42501"));
            }
            Ok(state.execute(self.pid, operation))
        })?;
        match done {
            Done::Now(done) => Ok(done),
            Done::Later(waited) => self.wait(waited, limit).await,
            Done::Deadlock => Err(refused("deadlock detected", "40P01")),
        }
    }

    async fn wait(
        &self,
        mut waited: oneshot::Receiver<Waited>,
        limit: Option<Duration>,
    ) -> Result<bool, DriverError> {
        let limited = async {
            let Some(limit) = limit else { return (&mut waited).await };
            match timeout(limit, &mut waited).await {
                Ok(waited) => waited,
                Err(_) => {
                    self.server.state().end_wait(self.pid, Waited::TimedOut);
                    // It may have been granted just before.
                    (&mut waited).await
                }
            }
        };
        match limited.await {
            Ok(Waited::Granted) => Ok(true),
            Ok(Waited::Cancelled) => Err(refused("the wait was cancelled", "57014")),
            Ok(Waited::TimedOut) => Err(refused("the wait took too long", "55P03")),
            Err(_) => Err(ended()),
        }
    }

    /// Runs part of a statement, if the session is alive.
    fn with<T>(
        &self,
        act: impl FnOnce(&mut State) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        let mut state = self.server.state();
        if !state.sessions.contains_key(&self.pid) {
            return Err(ended());
        }
        act(&mut state)
    }

    fn open(&mut self, question: &Question) -> Result<Vec<Row>, DriverError> {
        let earlier = self.nonce.is_some();
        let can_cancel = self.with(|state| {
            if let Some(session) = state.sessions.get_mut(&self.pid) {
                let name = question.application_name().unwrap_or("pglock");
                name.clone_into(&mut session.application_name);
            }
            Ok(!state.refuses_cancels)
        })?;
        self.nonce = Some(question.nonce().into());
        let facts = [
            (Fact::Pid, self.pid.into()),
            (Fact::Version, VERSION),
            (Fact::InRecovery, 0),
            (Fact::EarlierSession, earlier.into()),
            (Fact::CanCancel, can_cancel.into()),
        ];
        Ok(facts.into_iter().map(|(fact, value)| fact.to_row(value)).collect())
    }

    fn holdings(&self, question: &Question) -> Result<Vec<Row>, DriverError> {
        if !self.is_meant(question.nonce()) {
            return Ok(vec![(0, None)]);
        }
        self.with(|state| {
            let held = state.table.holdings(self.pid).map(|holding| holding.to_row());
            Ok([(1, None)].into_iter().chain(held).collect())
        })
    }

    fn token(&self, question: &Question) -> Result<Vec<Row>, DriverError> {
        if !self.is_meant(question.nonce()) {
            return Ok(vec![(0, None)]);
        }
        self.with(|state| {
            state.last_token += 1;
            Ok(vec![(1, Some(state.last_token.to_string()))])
        })
    }

    fn locks(&self, key: Option<LockKey>) -> Result<Vec<Row>, DriverError> {
        self.with(|state| {
            let mut entries = state.table.entries(key);
            for entry in &mut entries {
                if let Some(session) = state.sessions.get(&entry.pid) {
                    entry.application_name.clone_from(&session.application_name);
                }
            }
            Ok(entries.iter().map(lock_row).collect())
        })
    }

    fn is_meant(&self, nonce: &str) -> bool {
        self.nonce.as_deref() == Some(nonce)
    }
}

impl Session for MemorySession {
    async fn run(&mut self, request: &Request) -> Result<Answer, DriverError> {
        let answer = if self.is_meant(request.nonce()) {
            let (mut results, mut taken, mut limit) = (Vec::new(), false, None);
            for operation in request.to_operations() {
                if let Operation::LimitWait(millis) = operation {
                    limit = Some(Duration::from_millis(millis.into()));
                }
                let operation = operation.in_run(taken);
                let done = match operation {
                    Some(operation) => self.execute(operation, limit).await?,
                    None => false,
                };
                if let Some(Operation::TryLock(..)) = operation {
                    taken = done;
                }
                results.push(done);
            }
            results.into_iter().collect()
        } else {
            Answer::from(None)
        };
        self.server.answer_time().await;
        Ok(answer)
    }

    async fn ask(&mut self, question: &Question) -> Result<Vec<Row>, DriverError> {
        let rows = match question.topic() {
            Topic::Open => self.open(question)?,
            Topic::Holdings => self.holdings(question)?,
            Topic::Locks(key) => self.locks(key)?,
            Topic::Token => self.token(question)?,
            Topic::Database => vec![(0, Some("memory".to_owned()))],
            _ => {
                return Err(DriverError::statement("the memory server does not know the question"));
            }
        };
        self.server.answer_time().await;
        Ok(rows)
    }

    async fn closed(&mut self) -> DriverError {
        while self.ends.changed().await.is_ok() {}
        ended()
    }

    async fn close(self) {}
}

impl Drop for MemorySession {
    fn drop(&mut self) {
        self.server.state().end(self.pid);
    }
}

impl MemoryServer {
    /// Waits for the delay of answers, and lets other tasks run.
    async fn answer_time(&self) {
        consume_budget().await;
        let delay = self.state().delay;
        if !delay.is_zero() {
            sleep(delay).await;
        }
    }
}

fn refused(why: &'static str, sqlstate: &str) -> DriverError {
    DriverError::statement(why).with_sqlstate(Some(sqlstate.to_owned()))
}

fn ended() -> DriverError {
    DriverError::connection("the session has ended")
}
