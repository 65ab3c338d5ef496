//! What the errors of diesel mean to the engine.

use std::error::Error as StdError;
use std::io;
use std::iter;

use diesel::result::DatabaseErrorKind::{
    ClosedConnection, SerializationFailure, UnableToSendCommand,
};
use diesel::result::{DatabaseErrorInformation, Error};
use pglock_core::driver::DriverError;

/// Decides what an error of diesel means. No other function does.
pub(crate) fn driver_error(
    error: Box<dyn StdError + Send + Sync>,
    session_goes_on: bool,
) -> DriverError {
    let sqlstate = chain(&*error).find_map(sqlstate);
    let error = if session_goes_on {
        DriverError::statement(error)
    } else if chain(&*error).any(cannot_work) {
        DriverError::configuration(error)
    } else if chain(&*error).any(is_out_of_turn) {
        DriverError::protocol(error)
    } else {
        DriverError::connection(error)
    };
    error.with_sqlstate(sqlstate)
}

/// Whether the error comes from the server, not from the connection or the client.
pub(crate) fn is_answer(error: &Error) -> bool {
    match error {
        Error::DatabaseError(kind, _) => !matches!(kind, ClosedConnection | UnableToSendCommand),
        _ => false,
    }
}

fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    iter::successors(Some(error), |error| (*error).source())
}

/// Whether the settings, not the circumstances, are at fault.
fn cannot_work(error: &(dyn StdError + 'static)) -> bool {
    // Only their text shows what kind these errors are.
    error.is::<tokio_postgres::Error>()
        && match &*error.to_string() {
            "invalid configuration" => true,
            // TLS is not available. (If a broken connection ended the handshake, there is an I/O
            // error inside.)
            "error performing TLS handshake" => !chain(error).any(is_broken),
            _ => false,
        }
}

/// Whether the reply does not match the request. Only the text, which diesel passes on, shows it.
fn is_out_of_turn(error: &(dyn StdError + 'static)) -> bool {
    error.to_string() == "unexpected message from server"
}

/// False if rustls refuses the server's certificate.
fn is_broken(error: &(dyn StdError + 'static)) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() != io::ErrorKind::InvalidData)
}

/// The SQLSTATE as far as it can be derived: diesel does not show it.
fn sqlstate(error: &(dyn StdError + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<tokio_postgres::Error>() {
        return error.code().map(|code| code.code().to_owned());
    }
    let code = match error.downcast_ref() {
        Some(Error::DatabaseError(SerializationFailure, _)) => Some("40001"),
        Some(Error::DatabaseError(_, answer)) => by_names(&**answer),
        _ => None,
    };
    // A pool's error has no source, but its text contains that of the inner error.
    code.or_else(|| by_text(&error.to_string())).map(str::to_owned)
}

/// Looks for names, which the server never translates.
fn by_names(answer: &(dyn DatabaseErrorInformation + Send + Sync)) -> Option<&'static str> {
    let has = |text: Option<&str>, part| text.is_some_and(|text| text.contains(part));
    if has(answer.hint(), "max_locks_per_transaction") {
        Some("53200")
    } else if answer.statement_position().is_some() {
        // The position is that of something that the server does not know in the statement, whose
        // text is constant.
        Some("42000")
    } else if has(Some(answer.message()), "_advisory_") {
        Some("42501")
    } else {
        None
    }
}

/// Looks for words of a server that speaks English, except in the name of a file.
fn by_text(text: &str) -> Option<&'static str> {
    if text.contains("pg_hba.conf") {
        return Some("28000");
    }
    let mut refusals = REFUSALS.into_iter();
    let (.., code) =
        refusals.find(|(start, end, _)| text.starts_with(start) && text.ends_with(end))?;
    Some(code)
}

const REFUSALS: [(&str, &str, &str); 14] = [
    ("canceling statement due to user request", "", "57014"),
    ("canceling statement due to lock timeout", "", "55P03"),
    ("deadlock detected", "", "40P01"),
    ("password authentication failed for user ", "", "28P01"),
    ("role \"", "\" does not exist", "28000"),
    ("role \"", "\" is not permitted to log in", "28000"),
    ("database \"", "\" does not exist", "3D000"),
    ("sorry, too many clients already", "", "53300"),
    ("too many connections for ", "", "53300"),
    ("remaining connection slots are reserved for ", "", "53300"),
    ("permission denied for ", "", "42501"),
    ("invalid value for parameter ", "", "22023"),
    ("prepared statement \"", "\" does not exist", "26000"),
    ("prepared statement \"", "\" already exists", "42P05"),
];
