//! Questions that a session asks the server without taking or releasing a lock, and their answers.

use std::sync::Arc;
use std::time::Duration;

use super::statement::{Param, Statement};
use crate::key::LockKey;
use crate::mode::Mode;
use crate::sql;

/// One row of the answer to a [`Question`]: two columns, `int8 NOT NULL` and `text`.
pub type Row = (i64, Option<String>);

/// Something to learn from the server in one round trip. It takes and gives no lock.
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
}

/// What a question is about, for backends that do not speak SQL.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Topic {
    /// A session's first question, to be answered by one row `(fact, value)` per [`Fact`].
    Open,
    /// What the session holds, to be answered by a row `(1, None)` and then one [`Holding::to_row`]
    /// each.
    Holdings,
    /// Who holds and who waits, to be answered by one
    /// [`lock_row`](super::lock_row) each; if a key is given, of that key.
    Locks(Option<LockKey>),
}

/// A fact that the server tells when a session is opened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Fact {
    /// Backend pid.
    Pid = 1,
    /// `server_version_num`, such as 150018.
    Version = 2,
    /// 1 if the server is in recovery, else 0.
    InRecovery = 3,
    /// More than 0 if another session of this library has used this server session before.
    EarlierSession = 4,
    /// 1 if a lock that was taken for a trial was seen to be held and could be given back just
    /// once, else 0.
    LocksWork = 5,
    /// The server's lease in milliseconds, after which it ends a session that says nothing; 0 if it
    /// has none. A server that lives in the same process, and so with its clients, leaves it out.
    Lease = 6,
    /// Entries of the lock table that all users of the server share.
    LockTable = 7,
    /// Identifies the server and its replicas.
    System = 8,
    /// Identifies the database within the server.
    Database = 9,
    /// Counts promotions of replicas.
    Timeline = 10,
    /// 1 if the session may cancel what sessions of the same log-in are doing, else 0.
    CanCancel = 11,
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
    /// `trial`: a key that nobody else uses at this time.
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

    /// For an SQL client.
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
            Body::LocksOn(key) => {
                let (is_pair, bits) = key.pack();
                let space = 1 + i64::from(is_pair);
                Statement::new(sql::LOCKS_ON_KEY, [Param::Int8(bits), Param::Int8(space)])
            }
        }
    }

    /// For a backend that does not speak SQL.
    pub fn topic(&self) -> Topic {
        match self.body {
            Body::Open { .. } => Topic::Open,
            Body::Holdings => Topic::Holdings,
            Body::Locks => Topic::Locks(None),
            Body::LocksOn(key) => Topic::Locks(Some(key)),
        }
    }

    /// Tells the session this is meant for from all others: the one that it opened, if it opens
    /// one.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// The `application_name` that the session is to have, if this opens one and the name is not
    /// the connection's own.
    pub fn application_name(&self) -> Option<&str> {
        match &self.body {
            Body::Open { application_name, .. } => {
                Some(&**application_name).filter(|name| !name.is_empty())
            }
            Body::Holdings | Body::Locks | Body::LocksOn(_) => None,
        }
    }
}

impl Fact {
    /// As a row of an answer.
    pub fn to_row(self, value: i64) -> Row {
        (self as i64, Some(value.to_string()))
    }

    pub(crate) fn find(self, rows: &[Row]) -> Option<i64> {
        let (_, value) = rows.iter().find(|(fact, _)| *fact == self as i64)?;
        value.as_ref()?.parse().ok()
    }
}

impl Holding {
    /// As a row of an answer: the 64 bits of the key, and `0` to `3` for a single key or a pair
    /// (2), held for writing or reading (1).
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

    /// All that the session holds, or `None` if another session has answered.
    pub(crate) fn from_answer(rows: &[Row]) -> Option<Vec<Self>> {
        let ((1, _), rows) = rows.split_first()? else {
            return None;
        };
        rows.iter().map(Self::from_row).collect()
    }
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
        assert_eq!(Holding::from_answer(&[(0, None)]), None);
        assert_eq!(Holding::from_answer(&[]), None);
    }
}
