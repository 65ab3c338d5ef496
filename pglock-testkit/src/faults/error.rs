//! The error of the fault tools.

use std::error::Error;
use std::fmt;
use std::io;

use crate::postgres::{TestServerError, write_with_causes};

/// Why a fault tool failed.
///
/// `Debug` shows the text too, since `unwrap` prints it in tests.
#[non_exhaustive]
pub enum FaultError {
    /// This system, this user or this installation of PostgreSQL cannot provide the tool: see
    /// [`allowed`](super::allowed).
    NotAllowed {
        /// What is missing.
        why: String,
    },
    /// A program is not installed: see [`allowed`](super::allowed).
    Missing {
        /// What is missing, and what to install.
        what: String,
    },
    /// The tool needs a server with a host and a port.
    NoAddress,
    /// A program that the tool runs has failed.
    Failed {
        /// What failed.
        what: String,
        /// The end of what the program printed.
        output: String,
    },
    /// The tool waited for something that did not happen.
    TimedOut {
        /// What the tool waited for.
        awaited: String,
    },
    /// The test server failed.
    Server(TestServerError),
    /// A server refused a statement.
    Statement(tokio_postgres::Error),
    /// The system refused a file, a socket or a process.
    Io {
        /// What failed.
        what: String,
        /// Why.
        source: io::Error,
    },
}

impl FaultError {
    pub(super) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }
}

impl From<TestServerError> for FaultError {
    fn from(error: TestServerError) -> Self {
        Self::Server(error)
    }
}

impl From<tokio_postgres::Error> for FaultError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Statement(error)
    }
}

impl fmt::Debug for FaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

impl fmt::Display for FaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed { why } => f.write_str(why),
            Self::Missing { what } => f.write_str(what),
            Self::NoAddress => f.write_str("the URL of the server names no host"),
            Self::Failed { what, output } => write!(f, "{what}:\n{output}"),
            Self::TimedOut { awaited } => write!(f, "waited in vain for {awaited}"),
            Self::Server(error) => error.fmt(f),
            Self::Statement(_) => f.write_str("the server refuses a statement"),
            Self::Io { what, .. } => f.write_str(what),
        }
    }
}

impl Error for FaultError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Server(error) => error.source(),
            Self::Statement(source) => Some(source),
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
