//! PostgreSQL's hash functions, with which SQL programs make keys of names.

use super::super::{LockKey, hash};

/// The key of `pg_advisory_lock(hashtext(name))`: the `int4` of PostgreSQL's `hashtext`, widened to
/// a `bigint`.
///
/// PostgreSQL does not document `hashtext`. This is its algorithm since version 8.4, for a server
/// on a little-endian machine (x86, ARM) with a database in UTF-8; the tests compare it with values
/// from a server. In another encoding, characters beyond ASCII are other bytes, and names with them
/// have other keys. A name that contains NUL has a key here, but cannot be a `text` of PostgreSQL.
/// Source: `src/common/hashfn.c` and `hashtext` in `src/backend/access/hash/hashfunc.c`.
///
/// The key has 32 bits only: prefer [`hashtextextended`] where you can choose.
///
/// # Examples
///
/// ```
/// use pglock_core::key::interop;
///
/// assert_eq!(interop::hashtext("my-lock").as_bigint(), Some(577534659));
/// ```
pub fn hashtext(name: &str) -> LockKey {
    LockKey::from(hash::lookup3(name.as_bytes(), 0) as i32)
}

/// The key of `pg_advisory_lock(hashtextextended(name, seed))`. The common seed is 0.
///
/// PostgreSQL has had `hashtextextended` since version 11. The limits of [`hashtext`] on machines,
/// encodings and NUL apply here, too.
///
/// # Examples
///
/// ```
/// use pglock_core::key::interop;
///
/// let key = interop::hashtextextended("my-lock", 0);
/// assert_eq!(key.as_bigint(), Some(7574172786964069059));
/// assert_ne!(interop::hashtextextended("my-lock", 1), key);
/// ```
pub fn hashtextextended(name: &str, seed: i64) -> LockKey {
    LockKey::from_u64(hash::lookup3(name.as_bytes(), seed as u64))
}
