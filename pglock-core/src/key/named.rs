//! A key and its name.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::LockKey;

/// A key, with its name if it has one.
///
/// Every type that converts to a [`LockKey`] converts to this one, too, which keeps the name. The
/// name shows in errors and in the entries of [`Locks::inspect`](crate::Locks::inspect), and never
/// reaches the server.
///
/// **A name is a label.** Two values are equal if their keys are, whatever their names, because
/// they are one lock; hash and order follow the key, too. So a set of these contains each lock
/// once, and a sorted list is in the order of [`LockKey`], in which tasks that take several keys
/// cannot deadlock.
///
/// # Examples
///
/// ```
/// use std::collections::BTreeSet;
///
/// use pglock_core::key::{LockKey, NamedKey};
///
/// let number = NamedKey::from(7);
/// let named = LockKey::from(7).named("seven");
/// assert_eq!(number, named);
/// assert_eq!((number.name(), named.name()), (None, Some("seven")));
/// assert_eq!(BTreeSet::from([named, number, 3.into()]).len(), 2);
/// ```
#[derive(Clone)]
pub struct NamedKey {
    key: LockKey,
    name: Option<KeyName>,
}

/// What a key is called: what it was derived from, or a label of the user's choice.
#[derive(Clone, Debug)]
pub(crate) struct KeyName {
    text: Arc<str>,
    /// How long the namespace is that the text begins with, before a `/`: 0 if there is none.
    /// Unknown for a label.
    namespace: Option<usize>,
}

impl NamedKey {
    /// The key of a name within a namespace, through [the derivation](super#the-derivation). Shows
    /// as `namespace/name`.
    ///
    /// Equal names in different namespaces have different keys. A namespace is typically the name
    /// of a service. The empty namespace is none: `in_namespace("", "job")` is the same as
    /// `"job".into()`.
    ///
    /// # Examples
    ///
    /// ```
    /// use pglock_core::NamedKey;
    ///
    /// let key = NamedKey::in_namespace("billing", "invoice/42");
    /// assert_eq!(key.name(), Some("billing/invoice/42"));
    /// assert_eq!(key.key().as_bigint(), Some(-7937927551151249308));
    /// assert_ne!(key, NamedKey::in_namespace("shipping", "invoice/42"));
    /// ```
    pub fn in_namespace(namespace: &str, name: &str) -> Self {
        if namespace.is_empty() {
            return name.into();
        }
        let text = format!("{namespace}/{name}").into();
        let name_of = KeyName { text, namespace: Some(namespace.len()) };
        Self { key: LockKey::derived(namespace, name), name: Some(name_of) }
    }

    pub(super) fn from_name(name: impl Into<Arc<str>>) -> Self {
        let text = name.into();
        let key = LockKey::from_name(&text);
        Self { key, name: Some(KeyName { text, namespace: Some(0) }) }
    }

    /// The key alone.
    pub fn key(&self) -> LockKey {
        self.key
    }

    /// The name, as it shows in errors.
    pub fn name(&self) -> Option<&str> {
        self.name.as_ref().map(|name| &*name.text)
    }

    /// Whether this is the same key under another name.
    pub(crate) fn collides_with(&self, other: &Self) -> bool {
        match (&self.name, &other.name) {
            (Some(name), Some(other_name)) => self == other && !name.is_same_as(other_name),
            _ => false,
        }
    }

    /// Whether the key comes from [the derivation](super#the-derivation).
    pub(super) fn is_derived(&self) -> bool {
        self.name.as_ref().is_some_and(|name| name.namespace.is_some())
    }

    pub(crate) fn into_parts(self) -> (LockKey, Option<KeyName>) {
        (self.key, self.name)
    }
}

impl KeyName {
    pub(crate) fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Whether two names of one key are the same name.
    ///
    /// What a key was derived from is compared as a pair, because `("a/b", "c")` and
    /// `("a", "b/c")` look alike. A label has no parts, so its text decides.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        let is_same_split = match (self.namespace, other.namespace) {
            (Some(one), Some(other)) => one == other,
            (None, _) | (_, None) => true,
        };
        is_same_split && self.text == other.text
    }
}

impl LockKey {
    /// Gives this key a name of your choice: for numbers, and for names that other systems hash.
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
        let name = KeyName { text: name.into().into(), namespace: None };
        NamedKey { key: self, name: Some(name) }
    }
}

/// The key, without a name.
impl From<LockKey> for NamedKey {
    fn from(key: LockKey) -> Self {
        Self { key, name: None }
    }
}

impl fmt::Debug for NamedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedKey").field("key", &self.key).field("name", &self.name()).finish()
    }
}

impl PartialEq for NamedKey {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for NamedKey {}

impl Hash for NamedKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl PartialOrd for NamedKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for NamedKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(key: NamedKey) -> KeyName {
        key.into_parts().1.unwrap()
    }

    #[test]
    fn names_are_the_same_if_the_derivation_is() {
        let plain = name("job".into());
        assert!(plain.is_same_as(&name(NamedKey::in_namespace("", "job"))));
        let (one, other) = (NamedKey::in_namespace("a/b", "c"), NamedKey::in_namespace("a", "b/c"));
        assert_eq!(one.name(), other.name());
        assert!(!name(one.clone()).is_same_as(&name(other)));
        assert!(name(one.clone()).is_same_as(&name(one)));
        assert!(!plain.is_same_as(&name(NamedKey::in_namespace("job", ""))));
    }

    #[test]
    fn a_label_is_compared_by_its_text() {
        let label = |text: &str| name(LockKey::from(7).named(text));
        assert!(label("a/b").is_same_as(&label("a/b")));
        assert!(label("a/b").is_same_as(&name(NamedKey::in_namespace("a", "b"))));
        assert!(name("a/b".into()).is_same_as(&label("a/b")));
        assert!(!label("a/b").is_same_as(&label("a/c")));
    }

    #[test]
    fn named_keys_sort_like_keys() {
        let mut keys = ["z", "y", "x", "w"].map(NamedKey::from);
        keys.sort();
        assert!(keys.iter().map(NamedKey::key).is_sorted());
        assert!(LockKey::from(1).named("z") < LockKey::from((0, 0)).named("a"));
    }
}
