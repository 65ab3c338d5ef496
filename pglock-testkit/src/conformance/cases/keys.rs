//! What is one lock and what are two.

use pglock_core::LockKey;

use crate::conformance::Lab;

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
        guards.push(manager.rwlock(key).try_write().await.unwrap().expect("all keys differ"));
        assert!(other.rwlock(key).try_write().await.unwrap().is_none());
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
    let _pair = a.rwlock((5, 7).into()).write().await.unwrap();
    assert!(b.rwlock((5_i64 << 32 | 7).into()).try_write().await.unwrap().is_some());
    assert!(b.rwlock((5, 7).into()).try_write().await.unwrap().is_none());
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
        let guard = manager.rwlock(name.into()).try_write().await.unwrap();
        guards.push(guard.expect("all names differ"));
    }
    let number = manager.rwlock(7.into()).try_write().await.unwrap();
    assert!(number.is_some(), "the name \"7\" is not the number");
}

pub async fn equal_names_meet(lab: &Lab) {
    let (a, b) = (lab.manager(), lab.manager());
    let _guard = a.rwlock(LockKey::from_name("reports/daily")).write().await.unwrap();
    let again = b.rwlock(String::from("reports/daily").into());
    assert!(again.try_write().await.unwrap().is_none());
    let elsewhere = b.rwlock(LockKey::in_namespace("billing", "reports/daily"));
    assert!(elsewhere.try_write().await.unwrap().is_some());
}
