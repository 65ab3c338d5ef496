//! Connection URLs. tokio-postgres parses them, but does not write them.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;

use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls};

use super::TestServerError;

/// A URL split into its parts.
struct Parts<'a> {
    scheme: &'a str,
    /// `user:password@host:port`, as far as the parts are present.
    authority: &'a str,
    database: &'a str,
    query: Vec<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Result<Self, TestServerError> {
        let (scheme, rest) = url.split_once("://").ok_or(TestServerError::InvalidUrl)?;
        if !matches!(scheme, "postgres" | "postgresql") {
            return Err(TestServerError::InvalidUrl);
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let query = query.split('&').filter(|option| !option.is_empty()).collect();
        Ok(Self { scheme, authority, database, query })
    }

    /// Such an option would override what comes before the question mark.
    fn without(mut self, option: &str) -> Self {
        self.query.retain(|found| found.split('=').next() != Some(option));
        self
    }
}

impl fmt::Display for Parts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.query.is_empty() { "" } else { "?" };
        let query = self.query.join("&");
        write!(f, "{}://{}/{}{mark}{query}", self.scheme, self.authority, self.database)
    }
}

/// The same server and role, with another database.
pub(super) fn with_database(url: &str, database: &str) -> Result<String, TestServerError> {
    Ok(Parts { database, ..Parts::of(url)?.without("dbname") }.to_string())
}

/// The same role and database, on another server.
pub(crate) fn with_address(url: &str, address: SocketAddr) -> Result<String, TestServerError> {
    let parts = ["host", "hostaddr", "port"].into_iter().fold(Parts::of(url)?, Parts::without);
    let authority = match parts.authority.rsplit_once('@') {
        Some((user, _)) => format!("{user}@{address}"),
        None => address.to_string(),
    };
    Ok(Parts { authority: &authority, ..parts }.to_string())
}

/// Parses the URL.
pub(crate) fn config(url: &str) -> Result<Config, TestServerError> {
    // The client's message may quote part of a password that was not escaped.
    Config::from_str(url).map_err(|_| TestServerError::InvalidUrl)
}

/// A database of a started server through its socket, in the only spelling that both tokio-postgres
/// and sqlx parse.
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

/// Connects, and runs the connection in a task that ends with the client.
pub(crate) async fn connect(url: &str) -> Result<Client, TestServerError> {
    let config = config(url)?;
    let (client, connection) = config
        .connect(NoTls)
        .await
        .map_err(|source| TestServerError::Connect { server: describe(&config), source })?;
    tokio::spawn(async move {
        // The client's own calls report that the connection ended.
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
    fn only_the_server_changes() {
        let address = SocketAddr::from(([127, 0, 0, 1], 9));
        for (url, expected) in [
            ("postgres://u:p@h:1/a", "postgres://u:p@127.0.0.1:9/a"),
            ("postgres://h", "postgres://127.0.0.1:9/"),
            (
                "postgres://u@/a?host=h&sslmode=disable&port=1",
                "postgres://u@127.0.0.1:9/a?sslmode=disable",
            ),
        ] {
            assert_eq!(with_address(url, address).unwrap(), expected);
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
