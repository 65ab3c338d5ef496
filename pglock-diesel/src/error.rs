use std::error::Error as StdError;
use std::io;
use std::iter;

use diesel::result::DatabaseErrorKind::{ClosedConnection, UnableToSendCommand};
use diesel::result::{DatabaseErrorInformation, Error};
use pglock_core::driver::DriverError;

/// The one place that decides what an error means.
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

/// Whether the server has spoken, rather than that the connection or the client failed.
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
    // The kind of these errors shows in their text only.
    error.is::<tokio_postgres::Error>()
        && match &*error.to_string() {
            "invalid configuration" => true,
            // TLS cannot be had; a handshake that a broken connection ended has an I/O error
            // inside.
            "error performing TLS handshake" => !chain(error).any(is_broken),
            _ => false,
        }
}

/// Whether something was answered that was not asked. Told by the text only, which diesel hands on.
fn is_out_of_turn(error: &(dyn StdError + 'static)) -> bool {
    error.to_string() == "unexpected message from server"
}

/// Rather than that rustls refuses the server's certificate.
fn is_broken(error: &(dyn StdError + 'static)) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() != io::ErrorKind::InvalidData)
}

/// The SQLSTATE, as far as it can be known: diesel keeps it to itself.
fn sqlstate(error: &(dyn StdError + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<tokio_postgres::Error>() {
        return error.code().map(|code| code.code().to_owned());
    }
    let code = match error.downcast_ref() {
        Some(Error::DatabaseError(_, answer)) => by_names(&**answer),
        _ => None,
    };
    // A pool's error has no source, but shows the text of the one inside.
    code.or_else(|| by_text(&error.to_string())).map(str::to_owned)
}

/// Goes by names, which the server translates into no language.
fn by_names(answer: &(dyn DatabaseErrorInformation + Send + Sync)) -> Option<&'static str> {
    let has = |text: Option<&str>, part| text.is_some_and(|text| text.contains(part));
    if has(answer.hint(), "max_locks_per_transaction") {
        Some("53200")
    } else if answer.statement_position().is_some() {
        // It points at what it does not know in the text, which is always the same.
        Some("42000")
    } else if has(Some(answer.message()), "_advisory_") {
        Some("42501")
    } else {
        None
    }
}

/// Goes by the words of a server that speaks English, except for the name of a file.
fn by_text(text: &str) -> Option<&'static str> {
    if text.contains("pg_hba.conf") {
        return Some("28000");
    }
    let mut refusals = REFUSALS.into_iter();
    let (.., code) =
        refusals.find(|(start, end, _)| text.starts_with(start) && text.ends_with(end))?;
    Some(code)
}

const REFUSALS: [(&str, &str, &str); 13] = [
    ("canceling statement due to user request", "", "57014"),
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
