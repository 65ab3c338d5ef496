//! Keys: what a lock is taken on, and how a name becomes a key.
//!
//! PostgreSQL identifies an advisory lock by one `bigint` or by two `int4`, not by a name. The two
//! spaces are separate: `(0,5)` is not `5`, and `(5,7)` is not `5 << 32 | 7`. A [`LockKey`] is a
//! key in either space. Make one from
//!
//! * a name, through the derivation below: `"reports/daily".into()` or [`LockKey::from_name`];
//! * a name within a namespace, so that services sharing a database cannot meet by accident:
//!   [`NamedKey::in_namespace`];
//! * the number itself: `42.into()` or `(5, 7).into()`; an unsigned id of 64 bits by
//!   [`LockKey::from_u64`];
//! * a UUID, with the feature `uuid`: the name is its text;
//! * a name as another system hashes it, to share locks with programs that already run:
//!   [`interop`].
//!
//! Some numbers are taken: [`well_known`] has the keys of migration tools.
//!
//! ```
//! use pglock_core::key::{LockKey, NamedKey};
//!
//! fn lock(key: impl Into<LockKey>) -> LockKey {
//!     key.into()
//! }
//!
//! assert_eq!(lock("invoice/42"), LockKey::from_name("invoice/42"));
//! assert_ne!(lock("invoice/42"), NamedKey::in_namespace("billing", "invoice/42").key());
//! assert_eq!(lock(42).as_bigint(), Some(42));
//! assert_eq!(lock((5, 7)).as_pair(), Some((5, 7)));
//! ```
//!
//! Without a suffix, the compiler takes an integer literal as an `i32`, and refuses one that does
//! not fit: write `4_097_083_626_i64`.
//!
//! # A string is a name, never a number
//!
//! Every conversion from a string hashes it, even if it looks like a number. Only
//! [`FromStr`](std::str::FromStr) reads numbers: it accepts the text that [`Display`](fmt::Display)
//! prints, and nothing else.
//!
//! ```
//! use pglock_core::key::LockKey;
//!
//! let name = LockKey::from("42");
//! let number: LockKey = "42".parse()?;
//! assert_eq!(name.to_string(), "-4574206303282847939");
//! assert_eq!(number.to_string(), "42");
//! # Ok::<(), pglock_core::key::ParseKeyError>(())
//! ```
//!
//! # The derivation
//!
//! ```text
//! key = first 8 bytes, big-endian, as a signed integer, of
//!       SHA-256("pglock-key-v1" ++ len(namespace) ++ namespace ++ len(name) ++ name)
//! len = the number of bytes, as 8 bytes big-endian
//! ```
//!
//! The result is a `bigint`, the same in every version of this library and on every machine. The
//! lengths keep the two parts apart: `("ab", "c")` and `("a", "bc")` hash different bytes. A name
//! without a namespace is a name in the empty namespace: `from_name(name)` equals `in_namespace("",
//! name)`.
//!
//! **Text counts as its UTF-8 bytes.** It is not normalised, case-folded or trimmed: `é` as one
//! code point and as two are two names, and so are `Job` and `job`. A name may be empty, may
//! contain NUL, and may be of any length. The derivation is local: names are never sent to the
//! server.
//!
//! **64 bits are not many.** An attacker who can choose names freely finds *some* two that share a
//! key with about 2^32 hashes, which is minutes of work. Finding a name that shares the key of one
//! *given* name takes about 2^64. By accident, a million names contain a shared key with a
//! probability of 3 in 10^8. Names that share a key are one lock: they exclude each other without
//! need, and a task that holds one and waits for the other waits for itself. If strangers choose
//! your names, hash them with a secret of your own and lock the resulting `i64`.
//!
//! ## In SQL
//!
//! In PostgreSQL 11 and later, this statement computes the same number, from the namespace `$1` and
//! the name `$2`, whatever the encoding of the database. This is [`LockKey::DERIVATION_SQL`],
//! broken into lines:
//!
//! ```sql
//! SELECT ('x' || pg_catalog.encode(pg_catalog.substr(pg_catalog.sha256(
//!          pg_catalog.convert_to('pglock-key-v1', 'UTF8')
//!          || pg_catalog.int8send(pg_catalog.octet_length(pg_catalog.convert_to($1, 'UTF8')))
//!          || pg_catalog.convert_to($1, 'UTF8')
//!          || pg_catalog.int8send(pg_catalog.octet_length(pg_catalog.convert_to($2, 'UTF8')))
//!          || pg_catalog.convert_to($2, 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint
//! ```
//!
//! It cannot handle a name that contains NUL, which a PostgreSQL `text` cannot hold. The name of a
//! UUID is `id::text`.
//!
//! ## Test vectors
//!
//! | namespace | name | key |
//! |---|---|---|
//! | | (empty) | -5146302996040386709 |
//! | | `my-lock` | 2807504845085682 |
//! | | `漢字🔒` | -4277497818187498101 |
//! | | `café` (U+00E9) | 7572748900570967944 |
//! | | `café` (U+0065 U+0301) | 7142890271568362149 |
//! | | `a`, NUL, `b` | 3762738053769225636 |
//! | | `a`, 1 048 576 times | 7530009446741409716 |
//! | `billing` | `invoice/42` | -7937927551151249308 |
//! | `billing` | (empty) | 7826246815271422905 |
//! | | the UUID `67e55044-10b1-426f-9247-bb680e5fe0c8` | 6300531016101579783 |

use std::fmt;

use sha2::{Digest, Sha256};

pub(crate) use self::named::KeyName;
pub use self::named::NamedKey;
pub use self::text::ParseKeyError;

mod conversions;
mod hash;
pub mod interop;
mod named;
mod pg_locks;
mod text;
pub mod well_known;

#[cfg(test)]
mod tests;

/// The key of a lock: one `bigint`, or two `int4`.
///
/// Two locks with equal keys in one database are the same lock. See the [module
/// documentation](self) for how names become keys.
///
/// Keys are ordered: all bigints before all pairs, each by number. The order is the same in every
/// process and version, so tasks that take several keys in ascending order cannot deadlock.
///
/// # Examples
///
/// ```
/// use pglock_core::LockKey;
///
/// assert_eq!(LockKey::from(42).as_bigint(), Some(42));
/// assert_eq!(LockKey::from((5, 7)).as_pair(), Some((5, 7)));
/// assert_eq!(LockKey::from_usize(42), LockKey::from(42));
/// assert!(LockKey::from(42) < LockKey::from((5, 7)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LockKey(Space);

// The order of the variants is the order of keys, on which processes of different versions must
// agree: never change it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Space {
    Bigint(i64),
    Pair(i32, i32),
}

impl LockKey {
    /// The derivation of a key from a name, as a PostgreSQL statement (version 11 and later).
    ///
    /// `$1` is the namespace (an empty string for none) and `$2` the name, both `text`; the result
    /// is one row with one `bigint`. Use it to find the key of a name from psql or from a program
    /// in another language; this library never runs it. See [the module
    /// documentation](self#in-sql).
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::LockKey;
    ///
    /// // For psql, which binds the values at the end to the statement before it.
    /// println!("{} \\bind 'billing' 'invoice/42' \\g", LockKey::DERIVATION_SQL);
    /// ```
    pub const DERIVATION_SQL: &'static str = "\
        SELECT ('x' || pg_catalog.encode(pg_catalog.substr(pg_catalog.sha256(\
        pg_catalog.convert_to('pglock-key-v1', 'UTF8') \
        || pg_catalog.int8send(pg_catalog.octet_length(pg_catalog.convert_to($1, 'UTF8'))) \
        || pg_catalog.convert_to($1, 'UTF8') \
        || pg_catalog.int8send(pg_catalog.octet_length(pg_catalog.convert_to($2, 'UTF8'))) \
        || pg_catalog.convert_to($2, 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint";

    /// The key of a name, through [the derivation](self#the-derivation).
    ///
    /// The same as [`NamedKey::in_namespace`] with an empty namespace, but without the name.
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::key::LockKey;
    ///
    /// assert_eq!(LockKey::from_name("my-lock").as_bigint(), Some(2807504845085682));
    /// assert_eq!(LockKey::from_name("my-lock"), "my-lock".into());
    /// ```
    pub fn from_name(name: &str) -> Self {
        Self::derived("", name)
    }

    fn derived(namespace: &str, name: &str) -> Self {
        Self(Space::Bigint(derive(namespace.as_bytes(), name.as_bytes())))
    }

    /// The key of an unsigned id: the bigint with the same 64 bits.
    ///
    /// An id up to `i64::MAX` is that number, so it meets programs that lock the `i64`.
    /// PostgreSQL's `bigint` ends there: a larger id becomes the negative number `id - 2^64`, so no
    /// two ids share a key. There is no `From<u64>`, so that this conversion is visible in the
    /// code.
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::key::LockKey;
    ///
    /// assert_eq!(LockKey::from_u64(42), LockKey::from(42));
    /// assert_eq!(LockKey::from_u64(u64::MAX), LockKey::from(-1));
    /// ```
    pub const fn from_u64(id: u64) -> Self {
        Self(Space::Bigint(id as i64))
    }

    /// The key of a `usize`: that of the same number as a [`u64`](Self::from_u64), on every
    /// platform.
    pub const fn from_usize(id: usize) -> Self {
        Self::from_u64(id as u64)
    }

    /// The number, if this key is one `bigint`.
    pub const fn as_bigint(self) -> Option<i64> {
        match self.0 {
            Space::Bigint(key) => Some(key),
            Space::Pair(..) => None,
        }
    }

    /// The two numbers, if this key is a pair of `int4`.
    pub const fn as_pair(self) -> Option<(i32, i32)> {
        match self.0 {
            Space::Bigint(_) => None,
            Space::Pair(first, second) => Some((first, second)),
        }
    }
}

impl fmt::Debug for LockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Space::Bigint(key) => f.debug_tuple("LockKey").field(&key).finish(),
            Space::Pair(first, second) => {
                f.debug_tuple("LockKey").field(&first).field(&second).finish()
            }
        }
    }
}

/// Frozen: programs of different versions meet on these numbers, so never change it (`tests.rs`
/// holds golden values).
fn derive(namespace: &[u8], name: &[u8]) -> i64 {
    let mut hash = Sha256::new();
    hash.update(b"pglock-key-v1");
    for part in [namespace, name] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}
