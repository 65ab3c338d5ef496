//! The texts of backend errors: the kind and the advice for each SQLSTATE code.

use std::error::Error as StdError;

use super::{Error, ErrorKind};

/// How an operation of a backend failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    /// The server refused the statement; the session lives.
    Statement,
    /// The connection could not be made, or broke.
    Connection,
    /// The reply does not match the request.
    Protocol,
    /// The connection settings cannot work.
    Configuration,
}

impl Error {
    pub(crate) fn of_backend(
        failure: Failure,
        sqlstate: Option<&str>,
        source: Box<dyn StdError + Send + Sync>,
    ) -> Self {
        let by_code = sqlstate.and_then(by_code);
        let (kind, message) = by_code.unwrap_or_else(|| by_failure(failure));
        Self::with_source(kind, message, source)
    }

    /// For the statement that checks a token, in a transaction of the application.
    pub(crate) fn at_token_check(
        failure: Failure,
        sqlstate: Option<&str>,
        source: Box<dyn StdError + Send + Sync>,
    ) -> Self {
        let error = Self::of_backend(failure, sqlstate, source);
        match sqlstate.unwrap_or_default() {
            "40001" => error.with_message(
                ErrorKind::Driver,
                "another transaction has recorded a token for this resource since this one took its snapshot: \
                 roll this one back and repeat it, at READ COMMITTED if it should wait for the other one instead",
            ),
            code if code.starts_with("42") && error.kind() == ErrorKind::Driver => error
                .with_message(
                    ErrorKind::InvalidOptions,
                    "the table of fencing tokens is missing, or has other columns: create it with `FencingToken::TABLE`, \
                     in a schema in the search_path of this connection",
                ),
            _ => error,
        }
    }

    /// For the question that opens a session, which every PostgreSQL from version 13 on
    /// understands.
    pub(crate) fn at_open(
        failure: Failure,
        sqlstate: Option<&str>,
        source: Box<dyn StdError + Send + Sync>,
    ) -> Self {
        let error = Self::of_backend(failure, sqlstate, source);
        let code = sqlstate.unwrap_or_default();
        let is_odd = code.starts_with("42") || matches!(code, "0A000" | "22023");
        if error.kind() == ErrorKind::Driver && is_odd {
            return error.with_message(
                ErrorKind::UnsupportedServer,
                "the server lacks a function or a setting that locks need: \
                 use PostgreSQL 13 or later, or an engine that has what the cause names",
            );
        }
        error
    }
}

fn by_code(code: &str) -> Option<(ErrorKind, &'static str)> {
    Some(match code {
        "53200" => (
            ErrorKind::LockTableFull,
            "the server's shared lock table is full: hold fewer keys or raise max_locks_per_transaction",
        ),
        "53300" => (
            ErrorKind::TooManyConnections,
            "the server accepts no more connections: raise max_connections or the role's CONNECTION LIMIT",
        ),
        "40P01" => {
            (ErrorKind::Deadlock, "the server ended the wait because it was part of a deadlock")
        }
        "42501" => (
            ErrorKind::PermissionDenied,
            "the role lacks a right that locks need: grant it CONNECT on the database, or EXECUTE on the function that the cause names",
        ),
        "26000" | "42P05" => (
            ErrorKind::UnsupportedServer,
            "several connections share one server's prepared statements, as happens behind a pooler in transaction or statement mode: \
             connect to PostgreSQL directly or through a pooler in session mode",
        ),
        "3D000" => (
            ErrorKind::InvalidOptions,
            "the database does not exist: create it or name another one",
        ),
        _ if code.starts_with("28") => (
            ErrorKind::PermissionDenied,
            "the server refused the login: check user, password and pg_hba.conf",
        ),
        _ => return None,
    })
}

fn by_failure(failure: Failure) -> (ErrorKind, &'static str) {
    match failure {
        Failure::Statement => (ErrorKind::Driver, "the server refused the statement"),
        Failure::Connection => (
            ErrorKind::Connection,
            "could not connect to the PostgreSQL server, or the connection broke: check that the server runs and can be reached",
        ),
        Failure::Protocol => (
            ErrorKind::UnsupportedServer,
            "received a reply that does not match the request, as happens behind a pooler in transaction or statement mode: \
             connect to PostgreSQL directly or through a pooler in session mode",
        ),
        Failure::Configuration => (
            ErrorKind::InvalidOptions,
            "the connection settings cannot work: check the URL and the TLS settings",
        ),
    }
}
