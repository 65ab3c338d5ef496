//! Keys as other systems derive them, to share locks with programs that already run.
//!
//! If all programs use this library, a plain name is better in every way: see
//! [`LockKey::from_name`]. The library never applies these functions by default.
//!
//! | programs that use | function |
//! |---|---|
//! | go-pglock's examples (Go) | [`fnv1a`], [`composite`] |
//! | sqlx's `PgAdvisoryLock::new` (Rust) | [`sqlx`] |
//! | madelson's DistributedLock (.NET) | [`madelson`], [`madelson_hashed`] |
//! | with_advisory_lock (Ruby) | [`with_advisory_lock`] |
//! | django-pglock (Python) | [`django_pglock`] |
//! | pals (Python) | [`pals`] |
//! | sqlalchemy-dlock (Python) | [`sqlalchemy_dlock`] |
//! | advisory-lock (Node) | [`advisory_lock`] |
//! | River, before its unique index (Go) | [`river`] |
//! | `pg_advisory_lock(hashtext(…))` in SQL | [`hashtext`] |
//! | `pg_advisory_lock(hashtextextended(…, 0))` in SQL | [`hashtextextended`] |
//!
//! The functions for pals and sqlalchemy-dlock, and `madelson_hashed`, need the feature `interop`,
//! which adds the crates `sha1` and `blake2`. For the keys of migration tools, see
//! [`well_known`](super::well_known).
//!
//! Each function is frozen, and tested with values that the other system computes. All but
//! [`hashtext`] and [`hashtextextended`] hash the UTF-8 bytes of the name.
//!
//! **Hashes other than SHA-256 are weak.** CRC-32 and `hashtext` have 32 bits, so names share a key
//! by accident: with 10 000 names, the probability that any two do is 1 %. Label the keys with
//! their names ([`LockKey::named`]); then an acquire within one process reports such an accident as
//! [`KeyCollision`](crate::ErrorKind::KeyCollision).
//!
//! ```
//! use pglock_core::Locks;
//! use pglock_core::key::interop;
//!
//! # fn example(locks: Locks) {
//! let name = "reports/daily";
//! // Excludes `SELECT pg_advisory_lock(hashtext('reports/daily'))`.
//! let lock = locks.rwlock(interop::hashtext(name).named(name));
//! # }
//! ```

mod databases;
#[cfg(feature = "interop")]
mod digests;
mod libraries;
mod madelson;
#[cfg(test)]
mod tests;

use super::LockKey;
use super::hash;

pub use self::databases::{hashtext, hashtextextended};
#[cfg(feature = "interop")]
pub use self::digests::{madelson_hashed, pals, sqlalchemy_dlock};
pub use self::libraries::{advisory_lock, django_pglock, river, sqlx, with_advisory_lock};
pub use self::madelson::{UnsupportedName, madelson};

/// The key of a name in go-pglock's examples (`hashToInt64`): FNV-1a of its UTF-8 bytes, 64 bits,
/// taken as signed.
///
/// go-pglock itself takes an `int64`. To share locks with a program that uses its own numbers, use
/// `LockKey::from(number)`.
///
/// FNV-1a has **no collision resistance**: it is made for hash tables, and anyone can compute names
/// with equal keys. Such names exclude each other, for example `tenant:036j5l85vu-h` and
/// `tenant:1-0z9b69xhfy`. Use it only to share locks with Go programs, and never with names that
/// strangers choose.
///
/// # Examples
///
/// ```
/// use pglock_core::key::interop;
///
/// assert_eq!(interop::fnv1a("my-lock").as_bigint(), Some(-546483653120779755));
/// assert_eq!(interop::fnv1a("tenant:036j5l85vu-h"), interop::fnv1a("tenant:1-0z9b69xhfy"));
/// ```
pub fn fnv1a(name: &str) -> LockKey {
    LockKey::from_u64(hash::fnv1a_64(name.as_bytes()))
}

/// The key of go-pglock's composite ids: the *bigint* `(kind << 32) | id`.
///
/// It computes what Go computes on two `int64`, for any values: an `id` outside 0 to 2^32 - 1
/// overlaps with the kind, and the upper half of `kind` is lost. The pair
/// `LockKey::from((kind, id))` is another lock, and the better choice for new programs.
///
/// # Examples
///
/// ```
/// use pglock_core::key::{LockKey, interop};
///
/// assert_eq!(interop::composite(2, 7).as_bigint(), Some(8589934599));
/// assert_ne!(interop::composite(2, 7), LockKey::from((2, 7)));
/// ```
pub fn composite(kind: i64, id: i64) -> LockKey {
    LockKey::from((kind << 32) | id)
}

/// The first 8 bytes of a digest, little-endian. Every digest has that many.
fn first_bytes_le(digest: &[u8]) -> LockKey {
    let first = digest.first_chunk().copied().unwrap_or_default();
    LockKey::from(i64::from_le_bytes(first))
}
