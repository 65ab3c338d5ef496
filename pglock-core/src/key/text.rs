//! The textual form of a key.

use std::fmt;
use std::str::FromStr;

use super::{LockKey, Space};

/// Prints a bigint as `42` or `-7`, a pair as `(5,7)`. [`FromStr`] reads it back.
impl fmt::Display for LockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Space::Bigint(key) => write!(f, "{key}"),
            Space::Pair(first, second) => write!(f, "({first},{second})"),
        }
    }
}

/// Reads exactly what [`Display`](fmt::Display) prints: a number, not a name. For a name, use
/// [`LockKey::from_name`].
impl FromStr for LockKey {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Integers parse from more than they print as: `+7`, `007`, `-0`.
        parse(text).filter(|key| key.to_string() == text).ok_or(ParseKeyError(()))
    }
}

/// The error for a text that is not the textual form of a [`LockKey`].
///
/// Its message says what is accepted and does not repeat the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseKeyError(());

impl fmt::Display for ParseKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not a lock key: expected a 64-bit integer such as `42`, or two 32-bit integers such as \
             `(5,7)`, without spaces, plus signs or leading zeros",
        )
    }
}

impl std::error::Error for ParseKeyError {}

fn parse(text: &str) -> Option<LockKey> {
    let Some(pair) = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) else {
        return text.parse::<i64>().ok().map(LockKey::from);
    };
    let (first, second) = pair.split_once(',')?;
    Some(LockKey::from((first.parse::<i32>().ok()?, second.parse::<i32>().ok()?)))
}
