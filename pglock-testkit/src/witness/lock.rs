use tokio_postgres::Row;

/// The key of an advisory lock. The two kinds never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "PostgreSQL has these two")]
pub enum AdvisoryKey {
    /// One `bigint`.
    Big(i64),
    /// Two `integer`.
    Pair(i32, i32),
}

impl From<i64> for AdvisoryKey {
    fn from(key: i64) -> Self {
        Self::Big(key)
    }
}

impl From<(i32, i32)> for AdvisoryKey {
    fn from((first, second): (i32, i32)) -> Self {
        Self::Pair(first, second)
    }
}

/// What an advisory lock allows others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "PostgreSQL has these two")]
pub enum LockMode {
    /// Other readers: `ShareLock`.
    Read,
    /// Nobody: `ExclusiveLock`.
    Write,
}

/// An advisory lock that a session holds or waits for.
///
/// A session that took the same lock in the same mode several times has one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LockRow {
    /// Of the lock.
    pub key: AdvisoryKey,
    /// Of the lock.
    pub mode: LockMode,
    /// Whether the session holds it; otherwise it waits.
    pub granted: bool,
    /// The session's server process.
    pub pid: i32,
}

impl LockRow {
    pub(super) fn read(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let (high, low): (u32, u32) = (row.try_get(0)?, row.try_get(1)?);
        // 1 says bigint, 2 says a pair.
        let key = if row.try_get::<_, i16>(2)? == 1 {
            AdvisoryKey::Big(((u64::from(high) << 32) | u64::from(low)).cast_signed())
        } else {
            AdvisoryKey::Pair(high.cast_signed(), low.cast_signed())
        };
        let mode = if row.try_get::<_, &str>(3)? == "ShareLock" {
            LockMode::Read
        } else {
            LockMode::Write
        };
        Ok(Self {
            key,
            mode,
            granted: row.try_get(4)?,
            pid: row.try_get(5)?,
        })
    }
}
