//! A lock session over diesel-async.

use std::fmt;
use std::io;
use std::pin::pin;

use diesel::QueryResult;
use diesel::deserialize::FromSqlRow;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Nullable, SmallInt, Text, Untyped};
use diesel_async::{AsyncConnectionCore, AsyncPgConnection, SimpleAsyncConnection};
use futures_util::{StreamExt, TryStreamExt};
use pglock_core::driver::{Answer, DriverError, Param, Question, Request, Row, Session, Statement};

use crate::error::{driver_error, is_answer};

/// A connection whose idle socket is read.
pub struct DieselSession {
    /// Absent once the session is over.
    connection: Option<AsyncPgConnection>,
}

impl DieselSession {
    pub(crate) fn new(connection: AsyncPgConnection) -> Self {
        Self { connection: Some(connection) }
    }

    async fn fetch<T, R>(&mut self, statement: Statement<'_>) -> Result<Vec<R>, DriverError>
    where
        R: FromSqlRow<T, Pg> + Send,
    {
        let Some(connection) = &mut self.connection else {
            return Err(is_over());
        };
        let error = match load(connection, statement, true).await {
            Ok(rows) => return Ok(rows),
            Err(error) => error,
        };
        // diesel does not show whether the server ended the session after the error, so send an
        // empty query to find out.
        let goes_on = is_answer(&error) && goes_on(connection).await;
        if !goes_on {
            self.connection = None;
        }
        Err(driver_error(error.into(), goes_on))
    }
}

impl Session for DieselSession {
    async fn run(&mut self, request: &Request) -> Result<Answer, DriverError> {
        let mut rows = self.fetch::<Nullable<Text>, Option<String>>(request.statement()).await?;
        Ok(rows.pop().flatten().into())
    }

    async fn ask(&mut self, question: &Question) -> Result<Vec<Row>, DriverError> {
        self.fetch::<(BigInt, Nullable<Text>), _>(question.statement()).await
    }

    async fn closed(&mut self) -> DriverError {
        let Some(connection) = &mut self.connection else {
            return is_over();
        };
        let error = {
            let mut notifications = pin!(connection.notifications_stream());
            loop {
                match notifications.next().await {
                    // A setup hook may have subscribed to a channel.
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break error.into(),
                    None => break io::Error::from(io::ErrorKind::UnexpectedEof).into(),
                }
            }
        };
        self.connection = None;
        driver_error(error, false)
    }

    async fn close(mut self) {
        drop(self.connection.take());
        // This wakes the task that owns the socket, and the task closes it.
        tokio::task::yield_now().await;
    }
}

impl fmt::Debug for DieselSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DieselSession")
            .field("open", &self.connection.is_some())
            .finish_non_exhaustive()
    }
}

async fn goes_on(connection: &mut AsyncPgConnection) -> bool {
    for _ in 0..3 {
        match connection.batch_execute("").await {
            Ok(()) => return true,
            // An operator who cancelled the statement may cancel this query, too.
            Err(error) if is_answer(&error) => {}
            Err(_) => return false,
        }
    }
    false
}

pub(crate) async fn load<T, R>(
    connection: &mut AsyncPgConnection,
    statement: Statement<'_>,
    is_cached: bool,
) -> QueryResult<Vec<R>>
where
    R: FromSqlRow<T, Pg> + Send,
{
    let params = statement.params().collect();
    let query = Constant { sql: statement.sql(), params, is_cached };
    let mut answer = AsyncConnectionCore::load(connection, query).await?;
    let mut rows = Vec::new();
    while let Some(row) = answer.try_next().await? {
        rows.push(R::build_from_row(&row).map_err(diesel::result::Error::DeserializationError)?);
    }
    Ok(rows)
}

/// A constant text with its parameters.
struct Constant<'a> {
    sql: &'static str,
    params: Vec<Param<'a>>,
    /// Whether the connection keeps the prepared statement.
    is_cached: bool,
}

impl QueryFragment<Pg> for Constant<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        if !self.is_cached {
            out.unsafe_to_cache_prepared();
        }
        // diesel writes the `$1`, `$2` … itself, so they are left out.
        let mut parts = self.sql.split('$');
        out.push_sql(parts.next().unwrap_or_default());
        for (param, part) in self.params.iter().zip(parts) {
            match param {
                Param::Int8(value) => out.push_bind_param::<BigInt, _>(value)?,
                Param::Text(value) => out.push_bind_param::<Text, _>(*value)?,
                Param::Int2Array(values) => out.push_bind_param::<Array<SmallInt>, _>(*values)?,
                Param::Int8Array(values) => out.push_bind_param::<Array<BigInt>, _>(*values)?,
            }
            out.push_sql(part.trim_start_matches(|c: char| c.is_ascii_digit()));
        }
        Ok(())
    }
}

/// diesel distinguishes statements by their text: one type is enough for all.
impl QueryId for Constant<'_> {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Constant<'_> {
    type SqlType = Untyped;
}

fn is_over() -> DriverError {
    DriverError::connection("the session is over")
}
