//! The conversions from strings, integers and UUIDs, to [`LockKey`] and to [`NamedKey`].

use std::borrow::Cow;
use std::sync::Arc;

use super::{LockKey, NamedKey, Space};

/// Integer types whose values all fit in a `bigint`. For `u64` and `usize`, see
/// [`LockKey::from_u64`].
macro_rules! numbers {
    ($($number:ty)*) => {$(
        /// The number itself, as a bigint, not hashed.
        impl From<$number> for LockKey {
            fn from(key: $number) -> Self {
                Self(Space::Bigint(key.into()))
            }
        }

        /// The number itself, as a bigint, not hashed; without a name.
        impl From<$number> for NamedKey {
            fn from(key: $number) -> Self {
                LockKey::from(key).into()
            }
        }
    )*};
}

// `i32` must be among them: an integer without a suffix is one.
numbers!(i8 i16 i32 i64 u8 u16 u32);

/// The pair itself, not hashed.
impl From<(i32, i32)> for LockKey {
    fn from((first, second): (i32, i32)) -> Self {
        Self(Space::Pair(first, second))
    }
}

/// The pair itself, not hashed; without a name.
impl From<(i32, i32)> for NamedKey {
    fn from(key: (i32, i32)) -> Self {
        LockKey::from(key).into()
    }
}

macro_rules! names {
    ($($name:ty)*) => {$(
        /// The key of a name: [`LockKey::from_name`].
        impl From<$name> for LockKey {
            fn from(name: $name) -> Self {
                Self::from_name(&name)
            }
        }

        /// The key of a name, which is kept: [`LockKey::from_name`].
        impl From<$name> for NamedKey {
            fn from(name: $name) -> Self {
                Self::from_name(name)
            }
        }
    )*};
}

names!(&str String Box<str> Arc<str> Cow<'_, str>);

/// The key of a name: [`LockKey::from_name`].
impl From<&String> for LockKey {
    fn from(name: &String) -> Self {
        Self::from_name(name)
    }
}

/// The key of a name, which is kept: [`LockKey::from_name`].
impl From<&String> for NamedKey {
    fn from(name: &String) -> Self {
        Self::from_name(name.as_str())
    }
}

/// The key of the UUID's text as a name: 32 lower-case digits in five groups, as PostgreSQL prints
/// it, so `id.into()` and `id.to_string().into()` are one lock.
#[cfg(feature = "uuid")]
impl From<uuid::Uuid> for LockKey {
    fn from(id: uuid::Uuid) -> Self {
        Self::from_name(id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()))
    }
}

/// The key of the UUID's text as a name, which is kept, as for [`LockKey`].
#[cfg(feature = "uuid")]
impl From<uuid::Uuid> for NamedKey {
    fn from(id: uuid::Uuid) -> Self {
        Self::from_name(&*id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()))
    }
}
