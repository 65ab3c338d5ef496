//! The key schemes of lock libraries that need no feature.

use super::super::{LockKey, hash};
use super::first_bytes_le;

/// The key of a name in sqlx: `PgAdvisoryLock::new(name)`.
///
/// The first 8 bytes, little-endian, of HKDF-SHA256 without a salt. Source:
/// `sqlx-postgres/src/advisory_lock.rs`, which promises not to change it. For sqlx's own
/// migrations, see [`well_known::sqlx_migrate`](crate::key::well_known::sqlx_migrate).
///
/// # Examples
///
/// ```
/// use pglock_core::key::interop;
///
/// let key = interop::sqlx("my first Postgres advisory lock!");
/// assert_eq!(key.as_bigint(), Some(-5560419505042474287));
/// ```
pub fn sqlx(name: &str) -> LockKey {
    let info = b"SQLx (Rust) Postgres advisory lock";
    first_bytes_le(&hash::hkdf_sha256(name.as_bytes(), info))
}

/// The key of a name in with_advisory_lock (Ruby): the *pair* of its CRC-32 and a prefix, both
/// without their highest bit.
///
/// `prefix` is the number with which the environment variable `WITH_ADVISORY_LOCK_PREFIX` begins: 0
/// if it is not set, or does not begin with a digit. The gem does not hash a numeric name: use
/// `LockKey::from((number & 0x7fffffff, prefix & 0x7fffffff))`. Source:
/// `lib/with_advisory_lock/postgresql_advisory.rb` and `core_advisory.rb`.
///
/// # Examples
///
/// ```
/// use pglock_core::key::interop;
///
/// assert_eq!(interop::with_advisory_lock("my-lock", 0).as_pair(), Some((1153040885, 0)));
/// ```
pub fn with_advisory_lock(name: &str, prefix: i64) -> LockKey {
    const POSITIVE: i64 = 0x7fff_ffff;

    let hash = i64::from(hash::crc32(name.as_bytes()));
    LockKey::from(((hash & POSITIVE) as i32, (prefix & POSITIVE) as i32))
}

/// The key of a name in django-pglock: `pglock.advisory(name)`.
///
/// The first 8 bytes, little-endian, of the SHA-256 of the name. django-pglock takes an `int` as it
/// is: use `LockKey::from(number)`. A decorator without a name locks the dotted path of its
/// function. Source: `_cast_lock_id` in `pglock/core.py`.
///
/// # Examples
///
/// ```
/// use pglock_core::key::interop;
///
/// assert_eq!(interop::django_pglock("hello").as_bigint(), Some(1054880662928880172));
/// ```
pub fn django_pglock(name: &str) -> LockKey {
    first_bytes_le(&hash::sha256(name.as_bytes()))
}

/// The key of a name in the npm package advisory-lock, from version 1.1.1 on: the *pair* of the
/// first two little-endian `int4` of its SHA-256.
///
/// Earlier versions read the second number at the wrong offset. Source: `strToKey` in
/// `src/index.js` of binded/advisory-lock.
///
/// # Examples
///
/// ```
/// use pglock_core::key::interop;
///
/// let key = interop::advisory_lock("my-lock");
/// assert_eq!(key.as_pair(), Some((-1815441680, 1436714712)));
/// ```
pub fn advisory_lock(name: &str) -> LockKey {
    let [a, b, c, d, e, f, g, h, ..] = hash::sha256(name.as_bytes());
    LockKey::from((i32::from_le_bytes([a, b, c, d]), i32::from_le_bytes([e, f, g, h])))
}

/// The key of River's `AdvisoryLockHash`, with which it made jobs unique before it had a unique
/// index: FNV-1 with 64 bits, or with 32 bits below the prefix if there is one.
///
/// `text` is everything that River writes into the hash, in order. `prefix` is
/// `Config.AdvisoryLockPrefix`, and 0 means none. FNV-1 has no collision resistance, like
/// [`fnv1a`]. Source: `internal/util/hashutil/hash_util.go`.
///
/// [`fnv1a`]: super::fnv1a
///
/// # Examples
///
/// ```
/// use pglock_core::key::interop;
///
/// assert_eq!(interop::river("my-lock", 0).as_bigint(), Some(-6813972007262348819));
/// assert_eq!(interop::river("my-lock", 123456).as_bigint(), Some(530242984266221));
/// ```
pub fn river(text: &str, prefix: i32) -> LockKey {
    if prefix == 0 {
        return LockKey::from_u64(hash::fnv1_64(text.as_bytes()));
    }
    LockKey::from((i64::from(prefix) << 32) | i64::from(hash::fnv1_32(text.as_bytes())))
}
