//! What the errors of sqlx mean to the engine.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::io;

use pglock_core::driver::DriverError;
use sqlx::Error;
use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// Decides what an error of sqlx means. No other function does.
pub(crate) fn driver_error(error: Error) -> DriverError {
    let sqlstate = error.as_database_error().and_then(|error| error.code()).map(Cow::into_owned);
    let error = if !ends_session(&error) {
        DriverError::statement(error)
    } else if cannot_work(&error) {
        DriverError::configuration(error)
    } else {
        DriverError::connection(error)
    };
    error.with_sqlstate(sqlstate)
}

/// The same in a session. While connecting, sqlx reports an end of the connection as an unexpected
/// reply, too.
pub(crate) fn answer_error(error: Error) -> DriverError {
    match error {
        Error::Protocol(_) => DriverError::protocol(error),
        _ => driver_error(error),
    }
}

/// Whether the session is over, or in doubt. Only an error that the server reported about a
/// statement leaves it in order.
pub(crate) fn ends_session(error: &Error) -> bool {
    let Some(error) =
        error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
    else {
        return true;
    };
    matches!(error.severity(), PgSeverity::Panic | PgSeverity::Fatal)
        || error.code().starts_with("08")
        || error.code().starts_with("57P")
}

/// Whether the settings, not the circumstances, are at fault.
fn cannot_work(error: &Error) -> bool {
    match error {
        Error::Configuration(_) => true,
        // TLS is not built in, or its certificates cannot be used; a handshake that a broken
        // connection ended has an I/O error inside.
        Error::Tls(source) => !has_io_error(source.as_ref()),
        // rustls refuses the server's certificate.
        Error::Io(error) => error.kind() == io::ErrorKind::InvalidData,
        _ => false,
    }
}

fn has_io_error(error: &(dyn StdError + 'static)) -> bool {
    error.is::<io::Error>() || error.source().is_some_and(has_io_error)
}
