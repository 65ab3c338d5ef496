//! A key as statements bind it, and as `pg_locks` shows it.

use super::{LockKey, Space};

impl LockKey {
    /// This key as the two columns that statements over many keys bind: whether it is a pair, and
    /// its 64 bits.
    ///
    /// A bigint is its own 64 bits; a pair has its first number in the upper half and its second in
    /// the lower. Only both values together identify a key: `(5,7)` and `5 << 32 | 7` have the same
    /// bits. [`unpack`](Self::unpack) is the inverse.
    pub(crate) const fn pack(self) -> (bool, i64) {
        match self.0 {
            Space::Bigint(key) => (false, key),
            // By way of u32, or the sign of the second number would overwrite the first.
            Space::Pair(first, second) => (true, ((first as i64) << 32) | (second as u32 as i64)),
        }
    }

    /// The key that [`pack`](Self::pack) gave these two values for.
    pub(crate) const fn unpack(is_pair: bool, bits: i64) -> Self {
        if is_pair {
            Self(Space::Pair((bits >> 32) as i32, bits as i32))
        } else {
            Self(Space::Bigint(bits))
        }
    }

    /// The columns `(classid, objid, objsubid)` under which `pg_locks` shows this key.
    ///
    /// The first two are of type `oid`, which is unsigned; `objsubid` distinguishes the two spaces.
    /// [`from_pg_locks`](Self::from_pg_locks) is the inverse.
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::key::LockKey;
    ///
    /// assert_eq!(LockKey::from(-1).to_pg_locks(), (u32::MAX, u32::MAX, 1));
    /// assert_eq!(LockKey::from((5, 7)).to_pg_locks(), (5, 7, 2));
    /// ```
    pub const fn to_pg_locks(self) -> (u32, u32, i16) {
        let (is_pair, bits) = self.pack();
        ((bits >> 32) as u32, bits as u32, if is_pair { 2 } else { 1 })
    }

    /// The key that a row of `pg_locks` with `locktype = 'advisory'` is about.
    ///
    /// `None` if `objsubid` is neither 1 nor 2: then the row is not about an advisory lock. The
    /// view lists the locks of all databases of the server, and the same key is another lock in
    /// each database.
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::key::LockKey;
    ///
    /// assert_eq!(LockKey::from_pg_locks(0, 42, 1), Some(42.into()));
    /// assert_eq!(LockKey::from_pg_locks(5, 7, 2), Some((5, 7).into()));
    /// ```
    pub const fn from_pg_locks(classid: u32, objid: u32, objsubid: i16) -> Option<Self> {
        let bits = ((classid as i64) << 32) | (objid as i64);
        match objsubid {
            1 => Some(Self::unpack(false, bits)),
            2 => Some(Self::unpack(true, bits)),
            _ => None,
        }
    }
}
