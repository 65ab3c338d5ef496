//! The keys of recipes, on which programs of different versions meet.

use super::namespace;
use crate::NamedKey;

#[test]
fn keys_never_change() {
    for (namespace, name, key) in [
        (namespace::ELECTION, "scheduler", 5530788690693005019),
        (namespace::ELECTION, "漢字🔒", 5117683298543083464),
    ] {
        let derived = NamedKey::in_namespace(namespace, name).key();
        assert_eq!(derived.as_bigint(), Some(key), "{namespace}/{name}");
    }
}
