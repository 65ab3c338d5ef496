//! Reads connection URLs, and shows none of their values.

use pglock_core::driver::DriverError;
use sqlx::postgres::PgConnectOptions;
use tracing::subscriber::{NoSubscriber, with_default};

use crate::error::driver_error;

/// The parameters that sqlx knows in the query of a URL, besides `options[…]`.
const KNOWN: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// Reads a URL as sqlx does.
pub(crate) fn read(url: &str) -> Result<PgConnectOptions, DriverError> {
    let Some(place) = first_unknown(url) else {
        return url.parse().map_err(unreadable);
    };
    tracing::warn!(place, "sqlx does not know a parameter of the connection URL, and ignores it");
    // sqlx's own error shows the value, which may be a secret.
    with_default(NoSubscriber::default(), || url.parse().map_err(unreadable))
}

/// Counted from 1.
fn first_unknown(url: &str) -> Option<usize> {
    let (_, query) = url.split_once('?')?;
    let query = query.split_once('#').map_or(query, |(query, _)| query);
    let mut names =
        query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
    let place = names.position(|name| {
        !name.is_empty() && !name.starts_with("options[") && !KNOWN.contains(&name)
    });
    place.map(|place| place + 1)
}

/// sqlx repeats the value of `sslmode`.
fn unreadable(error: sqlx::Error) -> DriverError {
    if error.to_string().contains("`ssl_mode`") {
        return DriverError::configuration(
            "sslmode in the connection URL is not disable, allow, prefer, require, verify-ca or verify-full",
        );
    }
    driver_error(error)
}
