//! The keys of madelson's DistributedLock that need no hash.

use std::fmt;

use super::super::LockKey;

/// The longest name that fits into 64 bits.
const MAX_LENGTH: usize = 9;
const CHAR_BITS: u32 = 7;

/// The key of a name in madelson's DistributedLock without hashing:
/// `new PostgresAdvisoryLockKey(name)`.
///
/// It accepts
///
/// * up to 9 ASCII characters, even none: 7 bits for each, a 0, and ones up to 64 bits, as the
///   *pair* of the two halves;
/// * 16 hexadecimal digits: that *bigint*;
/// * two times 8 hexadecimal digits with a comma in between: that *pair*.
///
/// Programs that pass `allowHashing: true`, or use the
/// `PostgresDistributedSynchronizationProvider`, hash all other names: see `madelson_hashed`
/// (feature `interop`). Source: `PostgresAdvisoryLockKey.cs` of madelson/DistributedLock.
///
/// # Errors
///
/// [`UnsupportedName`] for all other names, for which the .NET constructor throws a
/// `FormatException`.
///
/// # Examples
///
/// ```
/// use pglock_core::key::interop;
///
/// # fn main() -> Result<(), interop::UnsupportedName> {
/// assert_eq!(interop::madelson("my-lock")?.as_pair(), Some((-605720883, -118112257)));
/// assert_eq!(interop::madelson("000000000000002a")?.as_bigint(), Some(42));
/// assert_eq!(interop::madelson("00000005,00000007")?.as_pair(), Some((5, 7)));
/// assert!(interop::madelson("cache-user-123").is_err());
/// # Ok(())
/// # }
/// ```
pub fn madelson(name: &str) -> Result<LockKey, UnsupportedName> {
    ascii(name).or_else(|| hexadecimal(name)).ok_or(UnsupportedName(()))
}

/// The error for a name that the scheme of another system cannot encode.
///
/// Its message says what is accepted and does not repeat the name.
///
/// # Examples
///
/// ```
/// use pglock_core::key::interop::{self, UnsupportedName};
///
/// let error: UnsupportedName = interop::madelson("reports/daily").unwrap_err();
/// assert!(error.to_string().contains("up to 9 ASCII characters"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsupportedName(());

impl fmt::Display for UnsupportedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not a name that DistributedLock can encode without hashing: expected up to 9 ASCII \
             characters, 16 hexadecimal digits, or two times 8 of them with a comma in between",
        )
    }
}

impl std::error::Error for UnsupportedName {}

fn ascii(name: &str) -> Option<LockKey> {
    let missing = MAX_LENGTH.checked_sub(name.len())?;
    if !name.is_ascii() {
        return None;
    }
    let chars = name.bytes().fold(0, |bits: u64, byte| (bits << CHAR_BITS) | u64::from(byte));
    let bits = (0..missing).fold(chars << 1, |bits, _| (bits << CHAR_BITS) | 0x7f);
    Some(LockKey::from(((bits >> 32) as i32, bits as i32)))
}

fn hexadecimal(name: &str) -> Option<LockKey> {
    let is_pair = name.len() == 17 && name.as_bytes()[8] == b',';
    if !is_pair && name.len() != 16 {
        return None;
    }
    let (first, second) = (number(name.get(..8)?)?, number(name.get(name.len() - 8..)?)?);
    Some(match is_pair {
        true => LockKey::from((first as i32, second as i32)),
        false => LockKey::from_u64((u64::from(first) << 32) | u64::from(second)),
    })
}

/// As `int.TryParse` with `AllowHexSpecifier`, which also accepts NULs behind the digits.
fn number(text: &str) -> Option<u32> {
    let digits = text.trim_end_matches('\0');
    let is_number = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_number.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}
