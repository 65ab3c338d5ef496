//! Golden tests of the keys of recipes, which programs of different versions share.

use super::election::request::request_key;
use super::namespace;
use crate::NamedKey;

#[test]
fn keys_never_change() {
    for (namespace, name, key) in [
        (namespace::ELECTION, "scheduler", 5530788690693005019),
        (namespace::ELECTION, "漢字🔒", 5117683298543083464),
        (namespace::ELECTION_RESIGN, "scheduler/4711", 1702348921991126951),
        (namespace::ELECTION_RESIGN, "漢字🔒/4711", -6290854773248182294),
        (namespace::SCHEDULE, "nightly-report", 4805856842694462155),
        (namespace::SCHEDULE, "漢字🔒", 2059271691587688200),
    ] {
        let derived = NamedKey::in_namespace(namespace, name).key();
        assert_eq!(derived.as_bigint(), Some(key), "{namespace}/{name}");
    }
}

#[test]
fn request_names_the_leaders_session() {
    let key = request_key("scheduler", 4711);
    assert_eq!(key, NamedKey::in_namespace(namespace::ELECTION_RESIGN, "scheduler/4711"));
}
