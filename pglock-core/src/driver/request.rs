use std::slice;
use std::sync::Arc;

use crate::key::LockKey;
use crate::mode::Mode;
use crate::sql;

/// One row of an answer: every statement answers two columns, `int8 NOT NULL` and `int8`.
pub type Row = (i64, Option<i64>);

/// One round trip to the server.
#[derive(Clone, Debug)]
pub struct Request {
    body: Body,
    nonce: Arc<str>,
}

#[derive(Clone, Debug)]
enum Body {
    Open { application_name: Arc<str> },
    One { sql: &'static str, code: i16, operand: i64 },
    Many { codes: Vec<i16>, operands: Vec<i64> },
    Holdings,
}

/// A value to bind.
#[derive(Clone, Copy, PartialEq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "an adapter must bind every type there is")]
pub enum Param<'a> {
    /// `int8`
    Int8(i64),
    /// `text`
    Text(&'a str),
    /// `int2[]`
    Int2Array(&'a [i16]),
    /// `int8[]`
    Int8Array(&'a [i64]),
}

/// A thing to do in a session. All answer at once, but for [`Lock`](Self::Lock).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a backend must do every operation there is")]
pub enum Operation {
    /// Takes the lock if nobody else holds it or waits for it in a conflicting mode: 1 if taken, else 0.
    TryLock(LockKey, Mode),
    /// Gives the lock back once: 1 if it was held, else 0.
    Unlock(LockKey, Mode),
    /// Waits in the server's queue until the lock is held: 1. Comes alone in its request.
    Lock(LockKey, Mode),
    /// Takes a read lock and gives it back: 1 if no writer of another session holds the key or waits for it, else 0.
    Probe(LockKey),
    /// Cancels what the session with this backend pid is doing: 1 if there is such a session, else 0.
    Cancel(i32),
    /// Gives back every lock of the session: 1.
    UnlockAll,
}

/// A fact that the server tells when a session is opened, as (fact, value) in the rows.
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

impl Request {
    pub(crate) fn open(nonce: Arc<str>, application_name: Arc<str>) -> Self {
        Self { body: Body::Open { application_name }, nonce }
    }

    pub(crate) fn operations(nonce: Arc<str>, operations: impl Iterator<Item = Operation>) -> Self {
        let (codes, operands): (Vec<_>, Vec<_>) = operations.map(Operation::encode).unzip();
        let body = match (&codes[..], &operands[..]) {
            (&[code], &[operand]) if let Some(sql) = sql::one(code) => {
                Body::One { sql, code, operand }
            }
            _ => Body::Many { codes, operands },
        };
        Self { body, nonce }
    }

    pub(crate) fn holdings(nonce: Arc<str>) -> Self {
        Self { body: Body::Holdings, nonce }
    }

    /// The statement's text. It is one of a handful of constants, so that it can be prepared once per session.
    pub fn sql(&self) -> &'static str {
        match &self.body {
            Body::Open { .. } => sql::OPEN,
            Body::One { sql, .. } => sql,
            Body::Many { .. } => sql::MANY,
            Body::Holdings => sql::HOLDINGS,
        }
    }

    /// The values of `$1`, `$2` … in the statement's text.
    pub fn params(&self) -> impl Iterator<Item = Param<'_>> {
        let (second, third) = match &self.body {
            Body::Open { application_name } => (Some(Param::Text(application_name)), None),
            Body::One { operand, .. } => (Some(Param::Int8(*operand)), None),
            Body::Many { codes, operands } => {
                (Some(Param::Int2Array(codes)), Some(Param::Int8Array(operands)))
            }
            Body::Holdings => (None, None),
        };
        [Some(Param::Text(&self.nonce)), second, third].into_iter().flatten()
    }
}

/// For backends that do not speak SQL.
impl Request {
    /// Whether this is a session's first request, to be answered by one row per [`Fact`].
    pub fn is_open(&self) -> bool {
        matches!(self.body, Body::Open { .. })
    }

    /// Whether this asks what the session holds, to be answered by a row `(1, None)` and then one [`Holding::to_row`] each.
    pub fn is_holdings(&self) -> bool {
        matches!(self.body, Body::Holdings)
    }

    /// The operations to do in this order, to be answered by one row `(place, result)` each, places counted from 1.
    pub fn to_operations(&self) -> impl Iterator<Item = Operation> {
        let (codes, operands) = match &self.body {
            Body::One { code, operand, .. } => (slice::from_ref(code), slice::from_ref(operand)),
            Body::Many { codes, operands } => (&codes[..], &operands[..]),
            Body::Open { .. } | Body::Holdings => (&[][..], &[][..]),
        };
        codes.iter().zip(operands).filter_map(|(code, operand)| Operation::decode(*code, *operand))
    }
}

/// Codes of the operations on one key, as in `sql`; those on a pair are 8 more.
const TRY_LOCK: i16 = 0;
const UNLOCK: i16 = 2;
const LOCK: i16 = 4;
const PROBE: i16 = 6;
const PAIR: i16 = 8;
const CANCEL: i16 = 16;
const UNLOCK_ALL: i16 = 17;

impl Operation {
    fn encode(self) -> (i16, i64) {
        let (base, mode, key) = match self {
            Self::TryLock(key, mode) => (TRY_LOCK, mode, key),
            Self::Unlock(key, mode) => (UNLOCK, mode, key),
            Self::Lock(key, mode) => (LOCK, mode, key),
            Self::Probe(key) => (PROBE, Mode::Write, key),
            Self::Cancel(pid) => return (CANCEL, pid.into()),
            Self::UnlockAll => return (UNLOCK_ALL, 0),
        };
        let (is_pair, operand) = key.pack();
        (base + (mode == Mode::Read) as i16 + if is_pair { PAIR } else { 0 }, operand)
    }

    fn decode(code: i16, operand: i64) -> Option<Self> {
        match code {
            CANCEL => return i32::try_from(operand).ok().map(Self::Cancel),
            UNLOCK_ALL => return Some(Self::UnlockAll),
            _ => {}
        }
        let key = LockKey::unpack(code & PAIR != 0, operand);
        let mode = if code & 1 == 1 { Mode::Read } else { Mode::Write };
        match code & !PAIR & !1 {
            TRY_LOCK => Some(Self::TryLock(key, mode)),
            UNLOCK => Some(Self::Unlock(key, mode)),
            LOCK => Some(Self::Lock(key, mode)),
            PROBE => Some(Self::Probe(key)),
            _ => None,
        }
    }
}

impl Holding {
    /// As a row of an answer.
    pub fn to_row(self) -> Row {
        let (is_pair, operand) = self.key.pack();
        (operand, Some(i64::from(is_pair) * 2 + i64::from(self.mode == Mode::Read)))
    }

    pub(crate) fn from_row((operand, kind): Row) -> Option<Self> {
        let (is_pair, mode) = match kind? {
            0 => (false, Mode::Write),
            1 => (false, Mode::Read),
            2 => (true, Mode::Write),
            3 => (true, Mode::Read),
            _ => return None,
        };
        Some(Self { key: LockKey::unpack(is_pair, operand), mode })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_keep_their_meaning_through_the_wire_form() {
        for key in [
            LockKey::from(i64::MIN),
            LockKey::from(-1),
            LockKey::from((i32::MIN, i32::MAX)),
            LockKey::from((-7, 9)),
        ] {
            for mode in [Mode::Read, Mode::Write] {
                for operation in [
                    Operation::TryLock(key, mode),
                    Operation::Unlock(key, mode),
                    Operation::Lock(key, mode),
                ] {
                    let (code, operand) = operation.encode();
                    assert!(sql::one(code).is_some());
                    assert_eq!(Operation::decode(code, operand), Some(operation));
                }
                let holding = Holding { key, mode };
                assert_eq!(Holding::from_row(holding.to_row()), Some(holding));
            }
            let (code, operand) = Operation::Probe(key).encode();
            assert_eq!(Operation::decode(code, operand), Some(Operation::Probe(key)));
        }
        for operation in [Operation::Cancel(4711), Operation::UnlockAll] {
            let (code, operand) = operation.encode();
            assert_eq!(Operation::decode(code, operand), Some(operation));
        }
    }

    #[test]
    fn parameters_appear_once_each_and_in_order() {
        let one = sql::one(TRY_LOCK).unwrap();
        for (text, count) in [(sql::OPEN, 2), (one, 2), (sql::MANY, 3), (sql::HOLDINGS, 1)] {
            let places: Vec<_> = text.match_indices('$').map(|(at, _)| &text[at..at + 2]).collect();
            assert_eq!(places, ["$1", "$2", "$3"][..count]);
        }
    }
}
