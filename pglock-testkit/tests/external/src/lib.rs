//! Locks over a bare `tokio-postgres` client: how long an adapter has to be.

use std::collections::HashMap;
use std::future::poll_fn;
use std::str::FromStr;

use pglock_core::Error;
use pglock_core::driver::{
    Answer, Driver, DriverError, PRELUDE, Param, Question, Request, Row, Session, Statement,
};
use tokio::task::JoinHandle;
use tokio_postgres::error::Severity;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls};

/// Opens lock sessions: `Locks::new(url.parse::<ExternalDriver>()?)` makes a lock manager. `Config` does not show its password.
#[derive(Clone, Debug)]
pub struct ExternalDriver {
    config: Config,
}

impl FromStr for ExternalDriver {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self, Error> {
        // The parser's own error quotes what it does not know, which may be part of a password.
        let config = url.parse().map_err(|_| {
            DriverError::configuration("not a connection URL that tokio-postgres can read")
        })?;
        Ok(Self { config })
    }
}

impl Driver for ExternalDriver {
    type Session = ExternalSession;

    async fn connect(&self) -> Result<ExternalSession, DriverError> {
        let (client, mut connection) = self.config.connect(NoTls).await.map_err(driver_error)?;
        let connection = tokio::spawn(async move {
            loop {
                match poll_fn(|cx| connection.poll_message(cx)).await {
                    // A notice or a notification.
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return driver_error(error),
                    None => return is_over(),
                }
            }
        });
        let connection = Connection(Some(connection));
        client.batch_execute(PRELUDE).await.map_err(driver_error)?;
        Ok(ExternalSession { client, prepared: HashMap::new(), connection })
    }
}

/// A client, and the task that reads its connection.
pub struct ExternalSession {
    client: Client,
    prepared: HashMap<&'static str, tokio_postgres::Statement>,
    connection: Connection,
}

/// Aborted when dropped, because the client alone would wait for outstanding answers. `None` once
/// it has ended.
struct Connection(Option<JoinHandle<DriverError>>);

impl ExternalSession {
    async fn fetch(
        &mut self,
        statement: Statement<'_>,
    ) -> Result<Vec<tokio_postgres::Row>, DriverError> {
        let sql = statement.sql();
        if !self.prepared.contains_key(sql) {
            let prepared = self.client.prepare(sql).await.map_err(driver_error)?;
            self.prepared.insert(sql, prepared);
        }
        let params: Vec<_> = statement.params().collect();
        let params: Vec<_> = params.iter().map(to_sql).collect();
        self.client.query(&self.prepared[sql], &params).await.map_err(driver_error)
    }
}

impl Session for ExternalSession {
    async fn run(&mut self, request: &Request) -> Result<Answer, DriverError> {
        let rows = self.fetch(request.statement()).await?;
        let digits: Option<String> = match rows.first() {
            Some(row) => row.try_get(0).map_err(driver_error)?,
            None => None,
        };
        Ok(digits.into())
    }

    async fn ask(&mut self, question: &Question) -> Result<Vec<Row>, DriverError> {
        let rows = self.fetch(question.statement()).await?;
        let read = |row: &tokio_postgres::Row| Ok((row.try_get(0)?, row.try_get(1)?));
        rows.iter().map(|row| read(row).map_err(driver_error)).collect()
    }

    async fn closed(&mut self) -> DriverError {
        self.connection.ended().await
    }

    async fn close(self) {
        let Self { client, mut connection, .. } = self;
        drop(client);
        connection.ended().await;
    }
}

impl Connection {
    async fn ended(&mut self) -> DriverError {
        let Some(task) = &mut self.0 else {
            return is_over();
        };
        let error = task.await.unwrap_or_else(DriverError::connection);
        self.0 = None;
        error
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

fn to_sql<'a>(param: &'a Param<'_>) -> &'a (dyn ToSql + Sync) {
    match param {
        Param::Int8(value) => value,
        Param::Text(value) => value,
        Param::Int2Array(values) => values,
        Param::Int8Array(values) => values,
    }
}

/// Only an error that the server reports about a statement leaves the session usable.
fn driver_error(error: tokio_postgres::Error) -> DriverError {
    let sqlstate = error.code().map(|code| code.code().to_owned());
    let severity = error.as_db_error().and_then(|error| error.parsed_severity());
    let error = match severity {
        Some(Severity::Error) => DriverError::statement(error),
        // Only its text shows what kind this error is.
        None if error.to_string() == "unexpected message from server" => DriverError::protocol(error),
        _ => DriverError::connection(error),
    };
    error.with_sqlstate(sqlstate)
}

fn is_over() -> DriverError {
    DriverError::connection("the session is over")
}
