//! Connection URLs. tokio-postgres reads them, but does not write them.

use std::path::Path;
use std::str::FromStr;

use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls};

use super::TestServerError;

/// The same server and role, another database.
pub(super) fn with_database(url: &str, database: &str) -> Result<String, TestServerError> {
    let (scheme, rest) = url.split_once("://").ok_or(TestServerError::InvalidUrl)?;
    if !matches!(scheme, "postgres" | "postgresql") {
        return Err(TestServerError::InvalidUrl);
    }
    let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, query)| (rest, query));
    let authority = rest.split_once('/').map_or(rest, |(authority, _)| authority);
    // It would overrule the path.
    let query: Vec<&str> = query
        .split('&')
        .filter(|option| !option.is_empty() && !option.starts_with("dbname="))
        .collect();
    let mark = if query.is_empty() { "" } else { "?" };
    Ok(format!("{scheme}://{authority}/{database}{mark}{}", query.join("&")))
}

/// A database of a started server through its socket, in the one spelling that tokio-postgres and sqlx both read.
pub(super) fn through_socket(folder: &Path, port: u16, database: &str) -> String {
    let folder: String = folder
        .to_string_lossy()
        .bytes()
        .map(|byte| match byte {
            b'/' | b'-' | b'_' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect();
    format!("postgres:///{database}?host={folder}&port={port}&user=test&password=test")
}

/// Connects, and leaves the work of the connection to a task that ends with the client.
pub(crate) async fn connect(url: &str) -> Result<Client, TestServerError> {
    // The driver's words may quote a part of a password that was not escaped.
    let config = Config::from_str(url).map_err(|_| TestServerError::InvalidUrl)?;
    let (client, connection) = config
        .connect(NoTls)
        .await
        .map_err(|source| TestServerError::Connect { server: describe(&config), source })?;
    tokio::spawn(async move {
        // The client's own calls report the end of the connection.
        let _ = connection.await;
    });
    Ok(client)
}

/// Host, port and user.
pub(super) fn describe(config: &Config) -> String {
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .map(|host| match host {
            Host::Tcp(name) => name.clone(),
            #[cfg(unix)]
            Host::Unix(folder) => folder.display().to_string(),
        })
        .collect();
    let port = config.get_ports().first().copied().unwrap_or(5432);
    format!("{}:{port} as {}", hosts.join(","), config.get_user().unwrap_or("the current user"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_database_changes() {
        for (url, expected) in [
            ("postgres://u:p@h:1/a", "postgres://u:p@h:1/b"),
            ("postgres://h", "postgres://h/b"),
            ("postgresql://h?sslmode=disable", "postgresql://h/b?sslmode=disable"),
            ("postgres:///a?dbname=c&host=/run/postgresql", "postgres:///b?host=/run/postgresql"),
        ] {
            assert_eq!(with_database(url, "b").unwrap(), expected);
        }
    }

    #[test]
    fn other_urls_are_refused() {
        assert!(matches!(with_database("mysql://h/a", "b"), Err(TestServerError::InvalidUrl)));
        assert!(matches!(with_database("host=h", "b"), Err(TestServerError::InvalidUrl)));
    }

    #[test]
    fn a_socket_is_named_by_its_folder() {
        let url = through_socket(Path::new("/tmp/a b/100%"), 5433, "db");
        assert_eq!(url, "postgres:///db?host=/tmp/a%20b/100%25&port=5433&user=test&password=test");
        let config = Config::from_str(&url).unwrap();
        #[cfg(unix)]
        assert_eq!(config.get_hosts(), [Host::Unix("/tmp/a b/100%".into())]);
        assert_eq!((config.get_ports(), config.get_user()), (&[5433][..], Some("test")));
    }

    #[test]
    fn a_description_has_no_password() {
        let config = Config::from_str("postgres://me:secret@example.org:6543/db").unwrap();
        assert_eq!(describe(&config), "example.org:6543 as me");
    }
}
