use super::LockKey;

/// A key, and the name that people know it by, if there is one.
///
/// Whatever becomes a [`LockKey`] becomes one of these, too, and a name is kept. It shows in errors
/// and in what [`Locks::holders`](crate::Locks::holders) tells, and never reaches the server.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct NamedKey {
    key: LockKey,
    name: Option<String>,
}

impl NamedKey {
    /// The key of a name within a namespace, known as `namespace/name`; the same key as
    /// [`LockKey::in_namespace`].
    pub fn in_namespace(namespace: &str, name: &str) -> Self {
        LockKey::in_namespace(namespace, name).named(format!("{namespace}/{name}"))
    }

    pub(crate) fn into_parts(self) -> (LockKey, Option<String>) {
        (self.key, self.name)
    }
}

impl LockKey {
    /// This key, known by a name of your choice: for numbers, and for names that other systems
    /// hash.
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::key::interop;
    ///
    /// let key = interop::fnv1a("user-123").named("user-123");
    /// ```
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> NamedKey {
        NamedKey { key: self, name: Some(name.into()) }
    }
}

impl From<LockKey> for NamedKey {
    fn from(key: LockKey) -> Self {
        Self { key, name: None }
    }
}

impl From<i64> for NamedKey {
    fn from(key: i64) -> Self {
        LockKey::from(key).into()
    }
}

impl From<(i32, i32)> for NamedKey {
    fn from(key: (i32, i32)) -> Self {
        LockKey::from(key).into()
    }
}

impl From<&str> for NamedKey {
    fn from(name: &str) -> Self {
        LockKey::from_name(name).named(name)
    }
}

impl From<String> for NamedKey {
    fn from(name: String) -> Self {
        LockKey::from_name(&name).named(name)
    }
}

impl From<&String> for NamedKey {
    fn from(name: &String) -> Self {
        name.as_str().into()
    }
}
