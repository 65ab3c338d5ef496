//! Reads connection URLs. Errors say what is wrong with a URL without showing any of it.

use std::error::Error as StdError;

use pglock_core::driver::DriverError;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// TLS parameters of libpq and of sqlx. Errors do not show other names, which may be part of a
/// password.
const TLS: [&str; 18] = [
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslkeylogfile",
    "sslpassword",
    "sslrootcert",
    "sslsni",
    "requiressl",
];

/// Other parameters of libpq and of sqlx, with a replacement if there is one.
const OTHERS: [(&str, &str); 20] = [
    ("client_encoding", "it is always UTF8"),
    ("fallback_application_name", "use application_name"),
    ("gssdelegation", ""),
    ("gssencmode", ""),
    ("gsslib", ""),
    ("keepalives_count", "use keepalives_retries"),
    ("krbsrvname", ""),
    ("max_protocol_version", ""),
    ("min_protocol_version", ""),
    ("oauth_client_id", ""),
    ("oauth_issuer", ""),
    ("passfile", "give the password in the URL"),
    ("replication", ""),
    ("require_auth", ""),
    ("requirepeer", ""),
    ("schema", "use options=-csearch_path%3D…"),
    ("service", "give its settings in the URL"),
    ("servicefile", "give its settings in the URL"),
    ("statement-cache-capacity", ""),
    ("target_server_type", "use target_session_attrs"),
];

/// Reads a URL, or libpq's pairs of names and values.
pub(crate) fn read(url: &str) -> Result<Config, DriverError> {
    let config: Config = url.parse().map_err(|error| refuse(&what_is_wrong(url, &error)))?;
    let has_at = |host: &Host| matches!(host, Host::Tcp(name) if name.contains('@'));
    if config.get_hosts().iter().any(has_at) {
        // What comes before the last `@` is part of the password, and errors would show it as the
        // host.
        return Err(refuse(
            "it has more than one `@`: write `%40` for one in a user or a password",
        ));
    }
    Ok(config)
}

fn refuse(why: &str) -> DriverError {
    DriverError::configuration(format!("tokio-postgres cannot read this connection URL: {why}"))
}

/// Uses the parser's message, but repeats only names from the lists.
fn what_is_wrong(url: &str, error: &tokio_postgres::Error) -> String {
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    let quoted = |start| cause.strip_prefix(start)?.strip_suffix('`');
    if let Some(name) = quoted("unknown option `") {
        unknown(url, name)
    } else if let Some(name) = quoted("invalid value for option `") {
        invalid(name)
    } else if cause == "unterminated parameter" {
        "a parameter has no `=`".to_owned()
    } else if !["postgres://", "postgresql://"].iter().any(|start| url.starts_with(start)) {
        "it does not begin with `postgres://`".to_owned()
    } else {
        "something in it is not UTF-8".to_owned()
    }
}

fn unknown(url: &str, name: &str) -> String {
    if let Some(name) = TLS.iter().find(|known| **known == name) {
        return format!("it does not know `{name}`: {WITH_TLS}");
    }
    let instead = match OTHERS.iter().find(|(known, _)| *known == name) {
        Some((name, "")) => {
            return format!(
                "it does not know `{name}`: leave it out, or connect in DieselDriver::from_fn"
            );
        }
        Some((name, instead)) => return format!("it does not know `{name}`: {instead}"),
        None => first_unreadable(url),
    };
    match instead {
        Some(place) => format!("it does not know the parameter in place {place}: leave it out"),
        None => "it does not know one of the parameters".to_owned(),
    }
}

fn invalid(name: &str) -> String {
    match name {
        "sslmode" => format!("sslmode is not disable, prefer or require: {WITH_TLS}"),
        name => format!("the value of `{name}` is not one that it knows"),
    }
}

const WITH_TLS: &str = "a URL is connected to without TLS; \
    for TLS, connect in DieselDriver::from_fn or in the custom_setup of a pool";

/// Counted from 1: the first parameter that makes the URL unreadable.
fn first_unreadable(url: &str) -> Option<usize> {
    // A `?` before the last `@` is part of the password.
    let after = url.rfind('@').unwrap_or_default();
    let query = after + url[after..].find('?')? + 1;
    let ends = url[query..].match_indices('&').map(|(end, _)| query + end).chain([url.len()]);
    let readable = ends.take_while(|end| url[..*end].parse::<Config>().is_ok());
    Some(readable.count() + 1)
}
