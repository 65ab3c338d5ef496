use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why there is no test PostgreSQL, and what to do about it.
///
/// Its texts never contain a password. `Debug` shows the text too, since that is what a test prints
/// that unwraps it.
#[non_exhaustive]
pub enum TestServerError {
    /// `DATABASE_URL` is not set and no PostgreSQL is installed.
    NoPostgres,
    /// `PGLOCK_PG_BIN` names a folder without `initdb` and `postgres`.
    NoBinaries(PathBuf),
    /// `DATABASE_URL` is no URL of a PostgreSQL.
    InvalidUrl,
    /// The server refuses the connection.
    Connect {
        /// Host, port and user.
        server: String,
        /// What the driver says.
        source: tokio_postgres::Error,
    },
    /// The server does not create or drop the database of a test.
    Database {
        /// The database.
        name: String,
        /// What the server says.
        source: tokio_postgres::Error,
    },
    /// PostgreSQL is installed but does not start.
    Start {
        /// What failed.
        what: String,
        /// The end of what PostgreSQL printed.
        log: String,
    },
    /// A standby is made by `pg_basebackup`, which is not in this folder, where `initdb` is.
    NoBaseBackup(PathBuf),
    /// The caller is root, and there is no other account to run PostgreSQL as.
    NoAccount,
    /// Only a [private](super::TestServer::private) server can be stopped and started.
    NotPrivate,
    /// The server was stopped or killed.
    NotRunning,
    /// The server of `DATABASE_URL` keeps its log to itself.
    NoLog,
    /// This system can only use a server that runs already.
    Unsupported,
    /// PostgreSQL cannot be downloaded.
    Download(Box<dyn Error + Send + Sync>),
    /// The system refuses a file or a process.
    Io {
        /// What failed.
        what: String,
        /// Why.
        source: io::Error,
    },
}

impl TestServerError {
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }
}

impl fmt::Debug for TestServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

/// The text of an error and those of its causes, in one line.
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
            Self::NoPostgres => f.write_str(
                "no PostgreSQL found: DATABASE_URL is not set, and initdb is neither in PGLOCK_PG_BIN, \
                 nor in PATH, nor in the usual folders. Do one of these:\n  \
                 * install it: apt-get install postgresql, dnf install postgresql-server, \
                 brew install postgresql@17 (it need not run)\n  \
                 * name the folder of initdb: PGLOCK_PG_BIN=/path/to/bin\n  \
                 * use a server that runs: docker compose up -d, then \
                 DATABASE_URL=postgres://test:test@localhost:5432/pglock\n  \
                 * have it downloaded: the feature `download` of pglock-testkit",
            ),
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
            Self::Download(_) => f.write_str(
                "cannot download PostgreSQL: install it (apt-get install postgresql), or set DATABASE_URL",
            ),
            Self::Io { what, .. } => f.write_str(what),
        }
    }
}

impl Error for TestServerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Connect { source, .. } | Self::Database { source, .. } => Some(source),
            Self::Download(source) => Some(source.as_ref()),
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
