//! A lock session over sqlx.

use std::io;
use std::sync::LazyLock;
use std::thread;

use pglock_core::driver::{
    Answer, DriverError, PRELUDE, Param, Question, Request, Row, Session, Statement,
};
use sqlx::postgres::{PgArguments, PgListener, PgRow};
use sqlx::query::QueryAs;
use sqlx::{Acquire, FromRow, PgPool, Postgres};
use tokio::runtime::{Builder, Handle};

use crate::error::{answer_error, driver_error, ends_session};

/// A runtime that has ended: it drops everything spawned on it at once.
static ENDED_RUNTIME: LazyLock<Handle> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread()
        .build()
        .expect("a runtime without drivers asks nothing of the system");
    let handle = runtime.handle().clone();
    runtime.shutdown_background();
    handle
});

/// A connection whose idle socket is read.
#[derive(Debug)]
pub struct SqlxSession {
    /// Absent once the session is over.
    listener: Option<PgListener>,
    pool: PgPool,
}

impl SqlxSession {
    /// The session on the one connection of `pool`.
    pub(crate) fn new(mut listener: PgListener, pool: PgPool) -> Self {
        listener.eager_reconnect(false);
        listener.ignore_pool_close_event(true);
        // A closed pool opens no further connection, so sqlx cannot replace a lost one without the
        // engine's knowledge.
        drop(pool.close());
        Self { listener: Some(listener), pool }
    }

    /// Sends the first statements of a session.
    pub(crate) async fn prepare(&mut self) -> Result<(), DriverError> {
        let Some(listener) = &mut self.listener else {
            return Err(is_over());
        };
        sqlx::raw_sql(PRELUDE).execute(listener).await.map(drop).map_err(driver_error)
    }

    /// `single`: there is one row, which sqlx gives without a stream around it.
    async fn fetch<R>(
        &mut self,
        statement: Statement<'_>,
        single: bool,
    ) -> Result<Vec<R>, DriverError>
    where
        R: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let Some(listener) = &mut self.listener else {
            return Err(is_over());
        };
        let query = bind(sqlx::query_as(statement.sql()), &statement);
        let answer = async {
            // Straight on the connection: the listener's own executor adds a stream around each
            // answer.
            let connection = listener.acquire().await?;
            match single {
                true => Ok(vec![query.fetch_one(connection).await?]),
                false => query.fetch_all(connection).await,
            }
        };
        answer.await.map_err(|error| {
            if ends_session(&error) {
                self.end();
            }
            answer_error(error)
        })
    }

    fn end(&mut self) {
        if let Some(listener) = self.listener.take() {
            close_at_once(listener);
        }
    }
}

/// Binds the parameters of a statement in their order.
pub(crate) fn bind<'q, R>(
    mut query: QueryAs<'q, Postgres, R, PgArguments>,
    statement: &Statement<'q>,
) -> QueryAs<'q, Postgres, R, PgArguments> {
    for param in statement.params() {
        query = match param {
            Param::Int8(value) => query.bind(value),
            Param::Text(value) => query.bind(value),
            Param::Int2Array(values) => query.bind(values),
            Param::Int8Array(values) => query.bind(values),
        };
    }
    query
}

impl Session for SqlxSession {
    async fn run(&mut self, request: &Request) -> Result<Answer, DriverError> {
        let mut rows = self.fetch(request.statement(), true).await?;
        Ok(rows.pop().and_then(|(digits,)| digits).into())
    }

    async fn ask(&mut self, question: &Question) -> Result<Vec<Row>, DriverError> {
        self.fetch(question.statement(), false).await
    }

    async fn closed(&mut self) -> DriverError {
        let Some(listener) = &mut self.listener else {
            return is_over();
        };
        let error = loop {
            match listener.try_recv().await {
                // A setup hook may have subscribed to a channel.
                Ok(Some(_)) => {}
                Ok(None) => break io::Error::from(io::ErrorKind::UnexpectedEof).into(),
                Err(error) => break error,
            }
        };
        self.end();
        driver_error(error)
    }

    async fn close(mut self) {
        // The listener spawns a task that says goodbye; the pool then waits until its connection is
        // closed.
        drop(self.listener.take());
        self.pool.close().await;
    }
}

impl Drop for SqlxSession {
    fn drop(&mut self) {
        self.end();
    }
}

/// In a live runtime, the listener's own drop would spawn a task that says goodbye, behind a
/// statement that may never end. Outside a runtime, it would panic.
fn close_at_once(listener: PgListener) {
    match Handle::try_current() {
        // The thread is ending and can no longer enter a runtime.
        Err(error) if error.is_thread_local_destroyed() => {
            thread::spawn(|| close_at_once(listener));
        }
        _ => {
            let _ended = ENDED_RUNTIME.enter();
            drop(listener);
        }
    }
}

fn is_over() -> DriverError {
    DriverError::connection("the session is over")
}
