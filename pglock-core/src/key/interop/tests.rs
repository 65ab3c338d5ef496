//! Golden values of programs that we do not control: never change them.

use super::*;

const NAMES: [&str; 3] = ["my-lock", "user-123", "cache-user-123"];

/// Checks the keys of [`NAMES`], and then those of further names.
fn check<K: Into<LockKey> + Copy>(
    scheme: impl Fn(&str) -> LockKey,
    keys: [K; 3],
    others: &[(&str, K)],
) {
    for (name, key) in NAMES.into_iter().zip(keys).chain(others.iter().copied()) {
        assert_eq!(scheme(name), key.into(), "{name:?}");
    }
}

#[test]
fn fnv1a_matches_go_pglock() {
    let keys = [-546483653120779755, -7449287063435791533, -4322605091581859050];
    let same = 0xcaf3_e8f6_b0ab_b04a_u64 as i64;
    let others = [
        ("", 0xcbf2_9ce4_8422_2325_u64 as i64),
        ("tenant:036j5l85vu-h", same),
        ("tenant:1-0z9b69xhfy", same),
    ];
    check(fnv1a, keys, &others);
}

#[test]
fn composite_matches_go() {
    assert_eq!(composite(2, 7), LockKey::from(8589934599_i64));
    assert_eq!(composite(0, 7), LockKey::from(7));
    assert_eq!(composite(-1, 0), LockKey::from(-1_i64 << 32));
    assert_eq!(composite(2, -1), LockKey::from(-1));
    assert_eq!(composite(1 << 32, 7), LockKey::from(7));
}

#[test]
fn sqlx_matches_its_documentation() {
    let keys = [-7577905956304869515, -4393159573260263330, -3536170723035863599_i64];
    let others = [
        ("my first Postgres advisory lock!", -5560419505042474287),
        ("", 8559922135585776354),
        ("é漢", -750564383696250722),
    ];
    check(sqlx, keys, &others);
}

#[test]
fn madelson_packs_short_ascii_names() {
    let vectors = [
        ("", (i32::MAX, -1)),
        ("\0", (16777215, -1)),
        ("a", (-1023410177, -1)),
        ("my-lock", (-605720883, -118112257)),
        ("user-123", (-338743515, -1403440257)),
        ("123456789", (1657379654, -1382303630)),
        ("~~~~~~~~~", (-33818641, -541098244)),
    ];
    for (name, key) in vectors {
        assert_eq!(madelson(name), Ok(LockKey::from(key)), "{name:?}");
    }
}

#[test]
fn madelson_reads_hexadecimal_names() {
    let vectors = [
        ("00000003ffffffff", LockKey::from(0x3_ffff_ffff_i64)),
        ("FFFFFFFFFFFFFFFF", LockKey::from(-1)),
        ("00000003,ffffffff", LockKey::from((3, -1))),
        // .NET accepts NUL behind the digits of a number.
        ("1234567\x00abcdef0\x00", LockKey::from(0x0123_4567_0abc_def0_i64)),
    ];
    for (name, key) in vectors {
        assert_eq!(madelson(name), Ok(key), "{name:?}");
    }
}

#[test]
fn madelson_refuses_what_needs_a_hash() {
    let refused = [
        "1234567890",
        "é",
        "cache-user-123",
        "+0000003ffffffff",
        "00000003 fffffff",
        "00000003-ffffffff",
        "00000003ffffffff0",
        "\0\0\0\0\0\0\0\0ffffffff",
        "0000000éffffffff",
        "漢漢漢漢漢漢",
    ];
    for name in refused {
        assert_eq!(madelson(name).ok(), None, "{name:?}");
    }
}

#[test]
fn with_advisory_lock_matches_ruby() {
    let keys = [(1153040885, 0), (577268302, 0), (1149437580, 0)];
    check(|name| with_advisory_lock(name, 0), keys, &[("", (0, 0)), ("é漢", (87276795, 0))]);
    assert_eq!(with_advisory_lock("", 42), LockKey::from((0, 42)));
    assert_eq!(with_advisory_lock("", -1), LockKey::from((0, i32::MAX)));
    assert_eq!(with_advisory_lock("", 1 << 31), LockKey::from((0, 0)));
}

#[test]
fn django_pglock_matches_its_tests() {
    let keys = [6170642704201584368, -4117622333042663684, -597526845217077770_i64];
    let others = [("hello", 1054880662928880172), ("", 1449310910991872227)];
    check(django_pglock, keys, &others);
    assert_eq!(django_pglock("hello").to_pg_locks(), (245608543, 3125670444, 1));
}

#[test]
fn advisory_lock_matches_node() {
    let keys = [(-1815441680, 1436714712), (-540614916, -958708659), (118719990, -139122560)];
    check(advisory_lock, keys, &[("", (1120186595, 337443992))]);
}

#[test]
fn river_matches_go() {
    let keys = [-6813972007262348819, -2437080074260988849, 2091409967919146528_i64];
    check(|text| river(text, 0), keys, &[("", 0xcbf2_9ce4_8422_2325_u64 as i64)]);
    let keys = [530242984266221, 530242185754255, 530240467365760_i64];
    check(|text| river(text, 123456), keys, &[]);
    assert_eq!(river("my-lock", -1), LockKey::from(-793196051));
}

#[test]
fn hashes_of_postgresql_match_a_server() {
    check(hashtext, [577534659, 1469898091, -825563094], &[]);
    let keys = [7574172786964069059, 5493783516931743083, -9156283604839765974_i64];
    check(|name| hashtextextended(name, 0), keys, &[]);
}

#[cfg(feature = "interop")]
#[test]
fn madelson_hashed_matches_its_tests() {
    let key = LockKey::from(-5707277204051710361_i64);
    assert_eq!(madelson_hashed(&"漢".repeat(18)), key);
    assert_eq!(madelson_hashed("cache-user-123"), LockKey::from(-2485058030350995419_i64));
    assert_eq!(Ok(madelson_hashed("my-lock")), madelson("my-lock"));
    assert_eq!(Ok(madelson_hashed("")), madelson(""));
}

#[cfg(feature = "interop")]
#[test]
fn pals_matches_its_tests() {
    let keys = [428380238956428610, 434717773751119061, -2485058030350995419_i64];
    check(|name| pals(None, name), keys, &[("", 957977401221134810)]);
    let key = LockKey::from(6416704380552784171_i64);
    assert_eq!(pals(Some("my-app-name"), "my-lock"), key);
    assert_eq!(pals(Some(""), "my-lock"), pals(None, ".my-lock"));
}

#[cfg(feature = "interop")]
#[test]
fn sqlalchemy_dlock_matches_python() {
    let keys = [-8841863937742578886, 548455814961252913, -466083154866004509_i64];
    let others = [("", -5426141060434712860), ("é漢", 3310076337191207224)];
    check(sqlalchemy_dlock, keys, &others);
}
