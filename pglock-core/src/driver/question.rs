//! Questions that a session asks the server without taking or releasing a lock, and their answers.

use std::sync::Arc;
use std::time::Duration;

use super::statement::{Param, Statement};
use crate::error::{Error, ErrorKind, Result};
use crate::key::LockKey;
use crate::mode::Mode;
use crate::sql;
use crate::token::FencingToken;

/// One row of the answer to a [`Question`]: two columns, `int8 NOT NULL` and `text`.
pub type Row = (i64, Option<String>);

/// Asks the server for information in one round trip. It takes and releases no lock.
#[derive(Clone, Debug)]
pub struct Question {
    body: Body,
    nonce: Arc<str>,
}

#[derive(Clone, Debug)]
enum Body {
    Open { application_name: Arc<str>, lease: String, acknowledgement: String, trial: i64 },
    Holdings,
    Locks,
    LocksOn(LockKey),
    Database,
    Token,
}

/// What a question asks, for backends that do not use SQL.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Topic {
    /// The first question of a session. Answer it with a row `(fact, value)` for each [`Fact`].
    Open,
    /// Which locks the session holds. Answer with a row `(1, None)`, and then a [`Holding::to_row`]
    /// for each lock.
    Holdings,
    /// Which sessions hold locks or wait for them, on this key or on all keys. Answer with a
    /// [`lock_row`](super::lock_row) for each.
    Locks(Option<LockKey>),
    /// The name of the database, to be answered by one row `(0, name)`. It may be the only question of
    /// a session.
    Database,
    /// A fencing token: answer with one row `(1, number)`. The number is higher than any that was
    /// given before, in any session.
    Token,
}

/// A fact about the server or the session that is reported when a session opens.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Fact {
    /// Backend pid.
    Pid = 1,
    /// `server_version_num`, such as 150018.
    Version = 2,
    /// 1 if the server is in recovery, else 0.
    InRecovery = 3,
    /// More than 0 if another session of this library has already used this server session.
    EarlierSession = 4,
    /// 1 if a trial lock showed as held and could be released exactly once, else 0.
    LocksWork = 5,
    /// The server lease in milliseconds, after which the server ends a silent session; 0 if it has
    /// none. A server in the same process, which lives and stops with its clients, leaves this fact
    /// out.
    Lease = 6,
    /// The number of entries in the lock table that all users of the server share.
    LockTable = 7,
    /// Identifies the server, together with its replicas.
    System = 8,
    /// Identifies the database within the server.
    Database = 9,
    /// Counts promotions of replicas.
    Timeline = 10,
    /// 1 if the session may cancel statements of sessions with the same login role, else 0.
    CanCancel = 11,
    /// How long a session waits before the server looks for a deadlock, in milliseconds. A server
    /// that finds deadlocks at once leaves this fact out.
    DeadlockTimeout = 12,
}

/// A lock that a session holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(clippy::exhaustive_structs, reason = "PostgreSQL shows these two of a held advisory lock")]
pub struct Holding {
    /// What is locked.
    pub key: LockKey,
    /// How.
    pub mode: Mode,
}

impl Question {
    /// `trial`: a key that no other session uses at this time.
    pub(crate) fn open(
        nonce: Arc<str>,
        application_name: Arc<str>,
        lease: Duration,
        acknowledgement: Duration,
        trial: i64,
    ) -> Self {
        let [lease, acknowledgement] =
            [lease, acknowledgement].map(|time| time.as_millis().to_string());
        Self { body: Body::Open { application_name, lease, acknowledgement, trial }, nonce }
    }

    pub(crate) fn holdings(nonce: Arc<str>) -> Self {
        Self { body: Body::Holdings, nonce }
    }

    pub(crate) fn locks(nonce: Arc<str>, key: Option<LockKey>) -> Self {
        Self { body: key.map_or(Body::Locks, Body::LocksOn), nonce }
    }

    pub(crate) fn token(nonce: Arc<str>) -> Self {
        Self { body: Body::Token, nonce }
    }

    /// The name of the database.
    pub(crate) fn database() -> Self {
        Self { body: Body::Database, nonce: "".into() }
    }

    /// The statement for an SQL client.
    pub fn statement(&self) -> Statement<'_> {
        let nonce = Param::Text(&self.nonce);
        match &self.body {
            Body::Open { application_name, lease, acknowledgement, trial } => {
                let name = Param::Text(application_name);
                let [lease, acknowledgement] =
                    [lease, acknowledgement].map(|time| Param::Text(time));
                let values = [nonce, name, lease, acknowledgement, Param::Int8(*trial)];
                Statement::new(sql::OPEN, values)
            }
            Body::Holdings => Statement::new(sql::HOLDINGS, [nonce]),
            Body::Locks => Statement::new(sql::LOCKS, []),
            Body::Database => Statement::new(sql::DATABASE, []),
            Body::Token => Statement::new(sql::TOKEN, [nonce]),
            Body::LocksOn(key) => {
                let (is_pair, bits) = key.pack();
                let space = 1 + i64::from(is_pair);
                Statement::new(sql::LOCKS_ON_KEY, [Param::Int8(bits), Param::Int8(space)])
            }
        }
    }

    /// What it asks, for a backend that does not use SQL.
    pub fn topic(&self) -> Topic {
        match self.body {
            Body::Open { .. } => Topic::Open,
            Body::Holdings => Topic::Holdings,
            Body::Locks => Topic::Locks(None),
            Body::Database => Topic::Database,
            Body::Token => Topic::Token,
            Body::LocksOn(key) => Topic::Locks(Some(key)),
        }
    }

    /// Identifies the session that this question is for. The first question of a session gives the
    /// session its nonce.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// The `application_name` for the session, if this is its first question and the name is not
    /// the connection's own.
    pub fn application_name(&self) -> Option<&str> {
        match &self.body {
            Body::Open { application_name, .. } => {
                Some(&**application_name).filter(|name| !name.is_empty())
            }
            Body::Holdings | Body::Locks | Body::LocksOn(_) | Body::Database | Body::Token => None,
        }
    }
}

impl Fact {
    /// The row of an answer.
    pub fn to_row(self, value: i64) -> Row {
        (self as i64, Some(value.to_string()))
    }

    pub(crate) fn find(self, rows: &[Row]) -> Option<i64> {
        let (_, value) = rows.iter().find(|(fact, _)| *fact == self as i64)?;
        value.as_ref()?.parse().ok()
    }
}

impl Holding {
    /// As a row of an answer: the 64 bits of the key, and a digit from `0` to `3`, which is 2 for a
    /// pair, plus 1 for a read lock.
    pub fn to_row(self) -> Row {
        let (is_pair, operand) = self.key.pack();
        let kind = u8::from(is_pair) * 2 + u8::from(self.mode == Mode::Read);
        (operand, Some(kind.to_string()))
    }

    pub(crate) fn from_row((operand, kind): &Row) -> Option<Self> {
        let (is_pair, mode) = match kind.as_deref()? {
            "0" => (false, Mode::Write),
            "1" => (false, Mode::Read),
            "2" => (true, Mode::Write),
            "3" => (true, Mode::Read),
            _ => return None,
        };
        Some(Self { key: LockKey::unpack(is_pair, *operand), mode })
    }

    /// All locks that the session holds, or `None` if another session answered.
    pub(crate) fn from_answer(rows: &[Row]) -> Option<Vec<Self>> {
        let ((1, _), rows) = rows.split_first()? else {
            return None;
        };
        rows.iter().map(Self::from_row).collect()
    }
}

/// The token in the answer to [`Topic::Token`]: `None` if another session has answered.
pub(crate) fn read_token(rows: &[Row]) -> Option<Result<FencingToken>> {
    let [(1, number)] = rows else {
        return None;
    };
    let token = number.as_ref().and_then(|number| FencingToken::new(number.parse().ok()?));
    Some(token.ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidOptions,
            "the fencing token would be above the highest bigint: lower the setting pglock.epoch of the database",
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holdings_keep_their_meaning_through_the_wire_form() {
        let mut held = Vec::new();
        for key in [LockKey::from(i64::MIN), LockKey::from(-1), LockKey::from((i32::MIN, -7))] {
            held.extend([Mode::Read, Mode::Write].map(|mode| Holding { key, mode }));
        }
        let mut rows = vec![(1, None)];
        rows.extend(held.iter().map(|holding| holding.to_row()));
        assert_eq!(Holding::from_answer(&rows), Some(held));
    }

    #[test]
    fn answer_of_another_session_is_not_believed() {
        for rows in [&[(0, None)][..], &[]] {
            assert_eq!(Holding::from_answer(rows), None);
            assert!(read_token(rows).is_none());
        }
    }

    #[test]
    fn token_is_a_number_that_fits() {
        let token = |text: &str| read_token(&[(1, Some(text.to_owned()))]).unwrap();
        assert_eq!(token("281474976711421").unwrap().to_string(), "281474976711421");
        for odd in ["9223372036854775808", "-1", ""] {
            assert_eq!(token(odd).unwrap_err().kind(), ErrorKind::InvalidOptions, "{odd}");
        }
    }
}
