//! The schemes that need SHA-1 or BLAKE2, behind the feature `interop`.

use blake2::Blake2b;
use blake2::digest::consts::U8;
use sha1::{Digest, Sha1};

use super::super::LockKey;
use super::{first_bytes_le, madelson};

/// The key of a name in madelson's DistributedLock:
/// `new PostgresAdvisoryLockKey(name, allowHashing: true)`, and all locks of its
/// `PostgresDistributedSynchronizationProvider`.
///
/// The key of [`madelson`] for a name that it accepts; for others, the first 8 bytes,
/// little-endian, of the SHA-1 of the name. Needs the feature `interop`. Source: `HashString` in
/// `PostgresAdvisoryLockKey.cs`.
///
/// # Examples
///
/// ```
/// use pglock_core::key::interop;
///
/// let key = interop::madelson_hashed("cache-user-123");
/// assert_eq!(key.as_bigint(), Some(-2485058030350995419));
/// assert_eq!(Ok(interop::madelson_hashed("my-lock")), interop::madelson("my-lock"));
/// ```
#[cfg_attr(docsrs, doc(cfg(feature = "interop")))]
pub fn madelson_hashed(name: &str) -> LockKey {
    madelson(name).unwrap_or_else(|_| sha1(name))
}

/// The key of a name in pals: `Locker(app).lock(name)`.
///
/// The first 8 bytes, little-endian, of the SHA-1 of `app.name`, or of the name alone without an
/// application. Needs the feature `interop`. pals reads the bytes in the order of its machine,
/// which is nearly always little-endian. Source: `_lock_num` in `pals/core.py`.
///
/// # Examples
///
/// ```
/// use pglock_core::key::interop;
///
/// let key = interop::pals(Some("my-app-name"), "my-lock");
/// assert_eq!(key.as_bigint(), Some(6416704380552784171));
/// assert_eq!(interop::pals(None, "my-lock").as_bigint(), Some(428380238956428610));
/// ```
#[cfg_attr(docsrs, doc(cfg(feature = "interop")))]
pub fn pals(app: Option<&str>, name: &str) -> LockKey {
    match app {
        Some(app) => sha1(&format!("{app}.{name}")),
        None => sha1(name),
    }
}

/// The key of a string in sqlalchemy-dlock: `create_sadlock(session, name)`.
///
/// BLAKE2b with a digest of 8 bytes, read as little-endian. Needs the feature `interop`. The Python
/// library reads it in the order of its machine, which is nearly always little-endian. It takes an
/// `int` as it is: use `LockKey::from(number)`. Source: `to_int64_key` in
/// `sqlalchemy_dlock/utils.py`.
///
/// # Examples
///
/// ```
/// use pglock_core::key::interop;
///
/// let key = interop::sqlalchemy_dlock("my-lock");
/// assert_eq!(key.as_bigint(), Some(-8841863937742578886));
/// ```
#[cfg_attr(docsrs, doc(cfg(feature = "interop")))]
pub fn sqlalchemy_dlock(name: &str) -> LockKey {
    first_bytes_le(&Blake2b::<U8>::digest(name.as_bytes()))
}

fn sha1(text: &str) -> LockKey {
    first_bytes_le(&Sha1::digest(text.as_bytes()))
}
