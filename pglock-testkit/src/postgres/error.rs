//! Errors that say why there is no test PostgreSQL, and how to get one.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why there is no test PostgreSQL, and what to do about it.
///
/// Its texts never contain a password. `Debug` shows the text too, since `unwrap` prints it in
/// tests.
#[non_exhaustive]
pub enum TestServerError {
    /// `DATABASE_URL` is not set, no PostgreSQL is installed, and none was downloaded.
    NoPostgres {
        /// Why none was downloaded; `None` without the feature `download`.
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// The same as [`NoPostgres`](Self::NoPostgres), which this process has returned before, so it
    /// does not repeat what to do.
    StillNoPostgres,
    /// `PGLOCK_PG_BIN` names a folder without `initdb` and `postgres`.
    NoBinaries(PathBuf),
    /// `DATABASE_URL` is not a URL of a PostgreSQL.
    InvalidUrl,
    /// The server refused the connection.
    Connect {
        /// Host, port and user.
        server: String,
        /// The error of the client.
        source: tokio_postgres::Error,
    },
    /// The server did not create or drop the database of a test.
    Database {
        /// The name of the database.
        name: String,
        /// The error of the server.
        source: tokio_postgres::Error,
    },
    /// PostgreSQL is installed but did not start.
    Start {
        /// What failed.
        what: String,
        /// The end of what PostgreSQL printed.
        log: String,
    },
    /// A standby needs `pg_basebackup`, which is missing from this folder, although `initdb` is
    /// there.
    NoBaseBackup(PathBuf),
    /// The caller is root, and there is no other account to run PostgreSQL as.
    NoAccount,
    /// Only a [private](super::TestServer::private) server can be stopped and started.
    NotPrivate,
    /// The server was stopped or killed.
    NotRunning,
    /// The log of the server of `DATABASE_URL` cannot be read.
    NoLog,
    /// On this system, only a server that is already running can be used.
    Unsupported,
    /// The system refused a file or a process.
    Io {
        /// What failed.
        what: String,
        /// Why.
        source: io::Error,
    },
}

/// What to do, the easiest first, in fewer than ten lines.
fn write_ways_out(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let download = if cfg!(feature = "download") {
        "run this again with a network, or with HTTPS_PROXY set: PostgreSQL is downloaded"
    } else {
        "have it downloaded: turn on the feature `download` of pglock-testkit"
    };
    write!(
        f,
        "no PostgreSQL: DATABASE_URL is not set, and initdb is neither in PGLOCK_PG_BIN, nor in \
         PATH,\nnor in the usual folders. Do one of these:\n  \
         * {download}\n  \
         * install it; it need not run: apt-get install postgresql, dnf install postgresql-server,\n    \
         apk add postgresql, brew install postgresql@18\n  \
         * name the folder of an initdb: export PGLOCK_PG_BIN=/path/to/bin\n  \
         * use a server that runs: docker compose up -d --wait, then\n    \
         export DATABASE_URL=postgres://test:test@localhost:5432/pglock"
    )
}

impl TestServerError {
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }
}

impl fmt::Debug for TestServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // One line for each download source.
            Self::NoPostgres { source: Some(source) } => write!(f, "{self}\n{source}"),
            _ => write_with_causes(self, f),
        }
    }
}

/// The text of an error and of its causes, in one line.
pub(crate) fn write_with_causes(error: &dyn Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{error}")?;
    let mut source = error.source();
    while let Some(cause) = source {
        write!(f, ": {cause}")?;
        source = cause.source();
    }
    Ok(())
}

impl fmt::Display for TestServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPostgres { .. } => write_ways_out(f),
            Self::StillNoPostgres => f.write_str("no PostgreSQL: the first failure of this process says what to do"),
            Self::NoBinaries(folder) => write!(
                f,
                "PGLOCK_PG_BIN={} has no initdb and postgres in it: name the folder that has them, \
                 such as /usr/lib/postgresql/17/bin, or unset it",
                folder.display()
            ),
            Self::InvalidUrl => f.write_str(
                "DATABASE_URL is not understood: it must look like postgres://user:password@host:5432/database",
            ),
            Self::Connect { server, .. } => write!(
                f,
                "cannot connect to PostgreSQL at {server}: start it, or correct or unset DATABASE_URL"
            ),
            Self::Database { name, source } => {
                write!(f, "cannot create or drop the database {name}")?;
                if source.code() == Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE) {
                    f.write_str(
                        ": every test has its own, so the role of DATABASE_URL needs ALTER ROLE ... CREATEDB",
                    )?;
                }
                Ok(())
            }
            Self::Start { what, log } => write!(f, "{what}:\n{log}"),
            Self::NoBaseBackup(folder) => write!(
                f,
                "a standby needs pg_basebackup of the same version, which is not in {}",
                folder.display()
            ),
            Self::NoAccount => f.write_str(
                "PostgreSQL does not run as root, and /etc/passwd has neither postgres nor nobody: \
                 run as another user, or set DATABASE_URL",
            ),
            Self::NotPrivate => {
                f.write_str("others use this server: start one with TestServer::private to stop it")
            }
            Self::NotRunning => f.write_str("the test server was stopped: start it"),
            Self::NoLog => f.write_str("the log of the server of DATABASE_URL is out of reach"),
            Self::Unsupported => f.write_str(
                "this system can only test against a server that runs: docker compose up -d, then set \
                 DATABASE_URL=postgres://test:test@localhost:5432/pglock",
            ),
            Self::Io { what, .. } => f.write_str(what),
        }
    }
}

impl Error for TestServerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Connect { source, .. } | Self::Database { source, .. } => Some(source),
            Self::NoPostgres { source: Some(source) } => Some(source.as_ref()),
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_out_fit_into_ten_lines() {
        let text = TestServerError::NoPostgres { source: None }.to_string();
        assert!(text.lines().count() <= 10, "{text}");
        assert!(text.lines().all(|line| line.len() <= 100), "{text}");
        let ways = ["download", "apt-get install", "PGLOCK_PG_BIN=", "DATABASE_URL="];
        let places = ways.map(|way| text.find(way).unwrap());
        assert!(places.is_sorted(), "{text}");
    }

    #[test]
    fn reasons_follow_the_ways_out() {
        let source = Some("npm: offline".into());
        let error = TestServerError::NoPostgres { source };
        assert_eq!(format!("{error:?}"), format!("{error}\nnpm: offline"));
    }
}
