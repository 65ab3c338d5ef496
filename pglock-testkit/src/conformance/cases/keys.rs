//! Which keys are the same lock, and which are different ones.

use pglock_core::key::interop;
use pglock_core::{ErrorKind, LockKey, NamedKey};

use super::{connect, database};
use crate::conformance::{Lab, group};

group! { keys:
    extreme_keys_are_kept_apart,
    single_and_pair_keys_never_meet,
    names_are_taken_as_they_are,
    equal_names_meet,
    one_name_is_one_lock_however_it_is_passed,
    names_shown_alike_are_two_locks,
    a_collision_ends_with_the_other_name,
    hashes_of_sql_are_those_of_the_server: Postgres,
}

pub async fn extreme_keys_are_kept_apart(lab: &Lab) {
    let keys = [
        LockKey::from(i64::MIN),
        LockKey::from(-1),
        LockKey::from(0),
        LockKey::from(1),
        LockKey::from(i64::MAX),
        LockKey::from((i32::MIN, i32::MAX)),
        LockKey::from((-1, -1)),
        LockKey::from((0, 0)),
        LockKey::from((0, 1)),
    ];
    let (manager, other) = (lab.manager(), lab.manager());
    let mut guards = Vec::new();
    for key in keys {
        guards.push(manager.lock(key).try_write().await.unwrap().expect("all keys differ"));
        assert!(other.lock(key).try_write().await.unwrap().is_none());
    }
    let mut held: Vec<_> =
        lab.witness().locks().await.unwrap().into_iter().map(|row| row.key).collect();
    held.sort();
    let mut expected = keys.to_vec();
    expected.sort();
    assert_eq!(held, expected);
    for guard in guards {
        guard.release().await.unwrap();
    }
}

pub async fn single_and_pair_keys_never_meet(lab: &Lab) {
    let (a, b) = (lab.manager(), lab.manager());
    let _pair = a.lock((5, 7)).write().await.unwrap();
    assert!(b.lock(5_i64 << 32 | 7).try_write().await.unwrap().is_some());
    assert!(b.lock((5, 7)).try_write().await.unwrap().is_none());
}

pub async fn names_are_taken_as_they_are(lab: &Lab) {
    let long = "n".repeat(1 << 20);
    let names = [
        "",
        " ",
        "a",
        "A",
        "a\0",
        "a\0b",
        "7",
        "caf\u{e9}",
        "cafe\u{301}",
        "\u{1f512}",
        "';--",
        &long,
    ];
    let manager = lab.manager();
    let mut guards = Vec::new();
    for name in names {
        let guard = manager.lock(name).try_write().await.unwrap();
        guards.push(guard.expect("all names differ"));
    }
    let number = manager.lock(7).try_write().await.unwrap();
    assert!(number.is_some(), "the name \"7\" is not the number");
}

pub async fn equal_names_meet(lab: &Lab) {
    let (a, b) = (lab.manager(), lab.manager());
    let _guard = a.lock(LockKey::from_name("reports/daily")).write().await.unwrap();
    let again = b.lock(String::from("reports/daily"));
    assert!(again.try_write().await.unwrap().is_none());
    let theirs = b.lock(NamedKey::in_namespace("billing", "reports/daily"));
    assert!(theirs.try_write().await.unwrap().is_some());
}

pub async fn one_name_is_one_lock_however_it_is_passed(lab: &Lab) {
    let manager = lab.manager();
    let same = [
        ["job".into(), NamedKey::in_namespace("", "job")],
        [NamedKey::in_namespace("", "a/b"), "a/b".into()],
        [LockKey::from_name("own").named("own"), "own".into()],
        [NamedKey::in_namespace("a", "b"), NamedKey::in_namespace("a", "b").key().named("a/b")],
    ];
    for [first, second] in same {
        let guard = manager.lock(first).write().await.unwrap();
        assert!(manager.lock(second).try_write().await.unwrap().is_none());
        guard.release().await.unwrap();
    }
}

pub async fn names_shown_alike_are_two_locks(lab: &Lab) {
    let manager = lab.manager();
    let keys = [
        NamedKey::in_namespace("a/b", "c"),
        NamedKey::in_namespace("a", "b/c"),
        NamedKey::in_namespace("", "a/b/c"),
    ];
    let mut guards = Vec::new();
    for key in keys {
        let guard = manager.lock(key).try_write().await.unwrap();
        guards.push(guard.expect("all names differ"));
    }
}

pub async fn a_collision_ends_with_the_other_name(lab: &Lab) {
    let manager = lab.manager();
    let named = |name| interop::fnv1a("key").named(name);
    let first = manager.lock(named("first"));
    // Made while the key has another name, and kept.
    let second = manager.lock(named("second"));
    let error = second.try_write().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyCollision);
    drop(first);
    let guard = second.try_write().await.unwrap().expect("the key is free");
    assert!(format!("{guard:?}").contains("second"), "{guard:?}");
    let error = manager.lock(named("first")).try_write().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyCollision);
}

pub async fn hashes_of_sql_are_those_of_the_server(_lab: &Lab) {
    let database = database().await;
    let witness = connect(database.url()).await;
    let sql = "SELECT pg_catalog.hashtext($1)::bigint, pg_catalog.hashtextextended($1, $2)";
    let statement = witness.client().prepare(sql).await.unwrap();
    // Each length of the last block, after none, one and many whole ones.
    let lengths =
        (0..=40).chain([1200, 1201]).map(|length| "my-lock/".repeat(151)[..length].to_owned());
    let others = ["my-lock", "user-123", "cache-user-123", "caf\u{e9}", "cafe\u{301}", "\u{1f512}"];
    for name in lengths.chain(others.map(String::from)) {
        for seed in [0, 1, -1, 1 << 32, i64::MAX, i64::MIN] {
            let row = witness.client().query_one(&statement, &[&name, &seed]).await.unwrap();
            let keys = (interop::hashtext(&name), interop::hashtextextended(&name, seed));
            let server = (row.get::<_, i64>(0).into(), row.get::<_, i64>(1).into());
            assert_eq!(keys, server, "{name:?} {seed}");
        }
    }
}
