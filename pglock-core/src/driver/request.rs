//! Lock operations that a session sends to the server in one round trip, and their results.

use std::sync::Arc;

use smallvec::SmallVec;

use super::statement::{Param, Statement};
use crate::key::LockKey;
use crate::mode::Mode;
use crate::sql;

/// Operations to carry out in one round trip.
#[derive(Clone, Debug)]
pub struct Request {
    codes: SmallVec<[i16; 2]>,
    operands: SmallVec<[i64; 2]>,
    nonce: Arc<str>,
}

/// One operation in a session. All of them return at once, except [`Lock`](Self::Lock). The result
/// is 1 for success and 0 otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a backend must do every operation there is")]
pub enum Operation {
    /// Takes the lock if no other session holds it or waits for it in a conflicting mode: 1 if
    /// taken, else 0.
    TryLock(LockKey, Mode),
    /// Begins a run, whose tries follow each other: as [`TryLock`](Self::TryLock).
    TryFirst(LockKey, Mode),
    /// Goes on in a run: as [`TryLock`](Self::TryLock) if the last lock that was tried in the run was
    /// taken. Else it does nothing: 0.
    TryAlso(LockKey, Mode),
    /// Goes on in a run: as [`TryLock`](Self::TryLock) if the last lock that was tried in the run was
    /// not taken. Else it does nothing: 0.
    TryInstead(LockKey, Mode),
    /// Releases the lock once: 1 if it was held, else 0.
    Unlock(LockKey, Mode),
    /// Waits in the server's queue until the lock is held: 1. Always alone in its request, or after
    /// [`LimitWait`](Self::LimitWait).
    Lock(LockKey, Mode),
    /// Limits the wait that follows in the same request to this many milliseconds: 1. After that
    /// time, the request fails with the SQLSTATE code 55P03, and the session lives.
    LimitWait(u32),
    /// Takes a read lock and releases it: 1 if no writer of another session holds the key or waits
    /// for it, else 0.
    Probe(LockKey),
    /// Turns the write lock that the session holds into a read lock, without letting another
    /// session in between, and at once even if others wait for the key: 1 if it was held, else 0.
    Downgrade(LockKey),
    /// Turns the write lock that the session holds into a read lock, as
    /// [`Downgrade`](Self::Downgrade), and then takes the write lock back if no other session has
    /// come in: 1 if it is a write lock again, else 0. A writer that waits may prevent that, but need
    /// not.
    LetIn(LockKey),
    /// Turns the read lock that the session holds into a write lock, without letting another
    /// session in between, if no other session holds the key: 1 if done, else 0. Sessions that wait
    /// for the key go on waiting. Always alone in its request.
    Upgrade(LockKey),
    /// Cancels the statement of the session with this backend pid: 1 if there is such a session,
    /// else 0.
    Cancel(i32),
    /// Releases every lock of the session: 1.
    UnlockAll,
    /// Does nothing: 1. The answer itself shows that the session lives.
    Ping,
}

/// The answer to a [`Request`]: the result of each operation, or that the request reached the wrong
/// session.
///
/// An adapter over an SQL client makes it with [`From`] from the only column of the only row, a
/// `text`: a digit for each operation, in order, `1` or `0`; or NULL if another server session ran
/// the statement, which then did nothing. Any other backend collects it from the results, or makes
/// it from `None`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer(Option<String>);

impl Request {
    pub(crate) fn operations(nonce: Arc<str>, operations: impl Iterator<Item = Operation>) -> Self {
        let (codes, operands) = operations.map(Operation::encode).unzip();
        Self { codes, operands, nonce }
    }

    /// The statement for an SQL client.
    pub fn statement(&self) -> Statement<'_> {
        let nonce = Param::Text(&self.nonce);
        match (sql::few(&self.codes), &self.operands[..]) {
            (Some(sql), &[operand]) => Statement::new(sql, [nonce, Param::Int8(operand)]),
            (Some(sql), &[first, second]) => {
                Statement::new(sql, [nonce, Param::Int8(first), Param::Int8(second)])
            }
            (_, operands) => {
                let arrays = [Param::Int2Array(&self.codes), Param::Int8Array(operands)];
                Statement::new(sql::many(&self.codes), [nonce, arrays[0], arrays[1]])
            }
        }
    }

    /// Identifies the session that this request is for, which was opened with the same nonce. Any
    /// other session must do nothing and answer `None`.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// The operations to carry out, in this order, for a backend that does not use SQL. Collect
    /// their results into the [`Answer`].
    pub fn to_operations(&self) -> impl Iterator<Item = Operation> {
        let encoded = self.codes.iter().zip(&self.operands);
        encoded.filter_map(|(code, operand)| Operation::decode(*code, *operand))
    }
}

impl Answer {
    /// The results in the order of the operations, or `None` if the answer has another number of
    /// them.
    pub(crate) fn results(&self, operations: usize) -> Option<impl Iterator<Item = bool>> {
        let digits = self.0.as_ref()?.as_bytes();
        let fits = digits.len() == operations && digits.iter().all(|digit| b"01".contains(digit));
        fits.then(|| digits.iter().map(|digit| *digit == b'1'))
    }
}

impl From<Option<String>> for Answer {
    fn from(digits: Option<String>) -> Self {
        Self(digits)
    }
}

impl FromIterator<bool> for Answer {
    fn from_iter<I: IntoIterator<Item = bool>>(results: I) -> Self {
        Self(Some(results.into_iter().map(|done| if done { '1' } else { '0' }).collect()))
    }
}

/// Codes of the operations, as in `sql`. For operations on a key, the code for a pair is 8 higher.
const TRY_LOCK: i16 = 0;
const UNLOCK: i16 = 2;
const LOCK: i16 = 4;
const PROBE: i16 = 6;
const PAIR: i16 = 8;
const CANCEL: i16 = 16;
const UNLOCK_ALL: i16 = 17;
const PING: i16 = 18;
const DOWNGRADE: i16 = 19;
const LIMIT_WAIT: i16 = 20;
const LET_IN: i16 = 22;
const TRY_FIRST: i16 = 32;
const TRY_ALSO: i16 = 34;
const TRY_INSTEAD: i16 = 36;
const UPGRADE: i16 = 21;

impl Operation {
    /// What a backend that does not use SQL does for a try of a run: [`TryLock`](Self::TryLock), or
    /// nothing. `taken`: whether the last lock that was tried was taken. Any other operation is
    /// itself.
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::driver::Operation;
    /// use pglock_core::{LockKey, Mode};
    ///
    /// let key = LockKey::from(7);
    /// let next = Operation::TryAlso(key, Mode::Write);
    /// assert_eq!(next.in_run(true), Some(Operation::TryLock(key, Mode::Write)));
    /// assert_eq!(next.in_run(false), None);
    /// ```
    pub fn in_run(self, taken: bool) -> Option<Self> {
        match self {
            Self::TryFirst(key, mode) => Some(Self::TryLock(key, mode)),
            Self::TryAlso(key, mode) => taken.then_some(Self::TryLock(key, mode)),
            Self::TryInstead(key, mode) => (!taken).then_some(Self::TryLock(key, mode)),
            other => Some(other),
        }
    }

    fn encode(self) -> (i16, i64) {
        let (base, mode, key) = match self {
            Self::TryLock(key, mode) => (TRY_LOCK, mode, key),
            Self::TryFirst(key, mode) => (TRY_FIRST, mode, key),
            Self::TryAlso(key, mode) => (TRY_ALSO, mode, key),
            Self::TryInstead(key, mode) => (TRY_INSTEAD, mode, key),
            Self::Unlock(key, mode) => (UNLOCK, mode, key),
            Self::Lock(key, mode) => (LOCK, mode, key),
            Self::Probe(key) => (PROBE, Mode::Write, key),
            Self::Downgrade(key) => (DOWNGRADE, Mode::Write, key),
            Self::LetIn(key) => (LET_IN, Mode::Write, key),
            Self::Upgrade(key) => (UPGRADE, Mode::Write, key),
            Self::Cancel(pid) => return (CANCEL, pid.into()),
            Self::UnlockAll => return (UNLOCK_ALL, 0),
            Self::Ping => return (PING, 0),
            Self::LimitWait(millis) => return (LIMIT_WAIT, millis.into()),
        };
        let (is_pair, operand) = key.pack();
        (base + (mode == Mode::Read) as i16 + if is_pair { PAIR } else { 0 }, operand)
    }

    fn decode(code: i16, operand: i64) -> Option<Self> {
        match code {
            CANCEL => return i32::try_from(operand).ok().map(Self::Cancel),
            UNLOCK_ALL => return Some(Self::UnlockAll),
            PING => return Some(Self::Ping),
            LIMIT_WAIT => return u32::try_from(operand).ok().map(Self::LimitWait),
            _ => {}
        }
        let key = LockKey::unpack(code & PAIR != 0, operand);
        match code & !PAIR {
            DOWNGRADE => return Some(Self::Downgrade(key)),
            LET_IN => return Some(Self::LetIn(key)),
            UPGRADE => return Some(Self::Upgrade(key)),
            _ => {}
        }
        let mode = if code & 1 == 1 { Mode::Read } else { Mode::Write };
        match code & !PAIR & !1 {
            TRY_LOCK => Some(Self::TryLock(key, mode)),
            TRY_FIRST => Some(Self::TryFirst(key, mode)),
            TRY_ALSO => Some(Self::TryAlso(key, mode)),
            TRY_INSTEAD => Some(Self::TryInstead(key, mode)),
            UNLOCK => Some(Self::Unlock(key, mode)),
            LOCK => Some(Self::Lock(key, mode)),
            PROBE => Some(Self::Probe(key)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
