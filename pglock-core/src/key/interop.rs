//! Keys as other systems derive them, to share locks with programs that already run.
//!
//! If all programs use this library, a plain name is better in every way: see
//! [`LockKey::from_name`]. The library never applies these functions by default.
//!
//! go-pglock itself takes an `int64`; the two functions here are those of its documentation and
//! examples. To share locks with a go-pglock program that uses its own numbers, use
//! `LockKey::from(number)`.

use super::LockKey;

/// The key of a name in go-pglock's examples (`hashToInt64`): FNV-1a of its UTF-8 bytes, 64 bits,
/// taken as signed.
///
/// FNV-1a has **no collision resistance**: it is made for hash tables, and names with equal keys
/// can be computed. Such names exclude each other, for example `tenant:036j5l85vu-h` and
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
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;

    let hash = name.bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    LockKey::from(hash as i64)
}

/// The key of go-pglock's composite ids: the *bigint* `(kind << 32) | id`.
///
/// It computes what Go computes on two `int64`, for any values: an `id` outside 0 to 2^32 - 1
/// overlaps with the kind, and the upper half of `kind` is lost. The pair `(kind, id)` is another
/// lock; new programs should use that one: `LockKey::from((kind, id))`.
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

/// The key under which sqlx migrates a database, by the name of the database:
/// `0x3d32ad9e * crc32(name)`.
///
/// # Examples
///
/// ```
/// use pglock_core::key::interop;
///
/// assert_eq!(interop::sqlx_migrate("postgres").as_bigint(), Some(368907709894077238));
/// ```
pub fn sqlx_migrate(database: &str) -> LockKey {
    const POLYNOMIAL: u32 = 0xedb8_8320;

    let shift = |crc: u32| (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 };
    let crc = database
        .bytes()
        .fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| shift(crc)));
    LockKey::from(0x3d32_ad9e * i64::from(!crc))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Golden values of programs we do not control: never change them.
    #[test]
    fn fnv1a_matches_go_pglock() {
        let vectors = [
            ("", 0xcbf2_9ce4_8422_2325_u64 as i64),
            ("my-lock", -546483653120779755),
            ("user-123", -7449287063435791533),
            ("cache-user-123", -4322605091581859050),
            ("tenant:036j5l85vu-h", 0xcaf3_e8f6_b0ab_b04a_u64 as i64),
            ("tenant:1-0z9b69xhfy", 0xcaf3_e8f6_b0ab_b04a_u64 as i64),
        ];
        for (name, key) in vectors {
            assert_eq!(fnv1a(name), LockKey::from(key), "{name:?}");
        }
    }

    #[test]
    fn sqlx_migrate_matches_sqlx() {
        let vectors = [("postgres", 368907709894077238), ("mydb", 293176876009260204), ("", 0_i64)];
        for (database, key) in vectors {
            assert_eq!(sqlx_migrate(database), LockKey::from(key), "{database:?}");
        }
    }

    #[test]
    fn composite_matches_go() {
        assert_eq!(composite(2, 7), LockKey::from(8589934599_i64));
        assert_eq!(composite(0, 7), LockKey::from(7));
        assert_eq!(composite(-1, 0), LockKey::from(-1_i64 << 32));
        assert_eq!(composite(2, -1), LockKey::from(-1));
        assert_eq!(composite(1 << 32, 7), LockKey::from(7));
    }
}
