//! Why a witness failed.

use std::error::Error;
use std::fmt;

use super::{LockRow, PATIENCE};
#[cfg(feature = "postgres")]
use crate::postgres::TestServerError;

/// Why a [`Witness`](super::Witness) failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum WitnessError {
    /// It cannot connect.
    #[cfg(feature = "postgres")]
    Connect(TestServerError),
    /// A statement failed.
    #[cfg(feature = "postgres")]
    Query(tokio_postgres::Error),
    /// Its own session has ended or could not be opened. Only for servers that are not PostgreSQL.
    SessionEnded,
    /// The server shows an advisory lock of a kind that does not exist.
    UnknownLock,
    /// What it waited for did not happen.
    TimedOut {
        /// What it waited for.
        awaited: String,
        /// The locks at the end of the wait.
        locks: Vec<LockRow>,
    },
}

impl fmt::Display for WitnessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "postgres")]
            Self::Connect(_) => f.write_str("the witness cannot connect"),
            #[cfg(feature = "postgres")]
            Self::Query(_) => f.write_str("the witness cannot ask the server"),
            Self::SessionEnded => f.write_str("the witness has no session any more"),
            Self::UnknownLock => {
                f.write_str("the server shows an advisory lock of an unknown kind")
            }
            Self::TimedOut { awaited, locks } => {
                write!(
                    f,
                    "still not {awaited} after {} s; the locks are {locks:?}",
                    PATIENCE.as_secs()
                )
            }
        }
    }
}

impl Error for WitnessError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Connect(source) => Some(source),
            #[cfg(feature = "postgres")]
            Self::Query(source) => Some(source),
            Self::SessionEnded | Self::UnknownLock | Self::TimedOut { .. } => None,
        }
    }
}

#[cfg(feature = "postgres")]
impl From<tokio_postgres::Error> for WitnessError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Query(error)
    }
}
