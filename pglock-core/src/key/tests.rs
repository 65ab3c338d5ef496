//! Tests of keys, with the golden values that must never change.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

/// Running programs hold locks under these numbers, computed by an independent implementation:
/// never change them. A change here is two releases of a service that no longer exclude each other.
#[test]
fn names_have_the_golden_keys() {
    let long = "a".repeat(1 << 20);
    let vectors = [
        ("", "", -5146302996040386709_i64),
        ("", "my-lock", 2807504845085682),
        ("", "My-Lock", 864051993923682687),
        ("", "user-123", -4306168951408872969),
        ("", "42", -4574206303282847939),
        ("", "漢字🔒", -4277497818187498101),
        ("", "caf\u{e9}", 7572748900570967944),
        ("", "cafe\u{301}", 7142890271568362149),
        ("", "a\0b", 3762738053769225636),
        ("", &long, 7530009446741409716),
        ("", "billing", 1019506983171423954),
        ("billing", "", 7826246815271422905),
        ("billing", "invoice/42", -7937927551151249308),
        ("bill", "inginvoice/42", 161512756865549024),
    ];
    for (namespace, name, key) in vectors {
        let shown: String = name.chars().take(20).collect();
        assert_eq!(in_namespace(namespace, name), LockKey::from(key), "{namespace:?} {shown:?}");
    }
}

#[test]
fn no_namespace_is_the_empty_namespace() {
    assert_eq!(LockKey::from_name("job"), in_namespace("", "job"));
    assert_ne!(LockKey::from_name("job"), in_namespace("job", ""));
}

fn in_namespace(namespace: &str, name: &str) -> LockKey {
    NamedKey::in_namespace(namespace, name).key()
}

/// Checks both conversions of something that is a key.
fn check<T: Clone>(from: T, key: LockKey, name: Option<&str>)
where
    LockKey: From<T>,
    NamedKey: From<T>,
{
    assert_eq!(LockKey::from(from.clone()), key);
    let named = NamedKey::from(from);
    assert_eq!((named.key(), named.name()), (key, name));
}

#[test]
fn every_kind_of_string_is_a_name() {
    let (key, name) = (LockKey::from_name("42"), Some("42"));
    check("42", key, name);
    check(String::from("42"), key, name);
    check(&String::from("42"), key, name);
    check(Box::<str>::from("42"), key, name);
    check(Arc::<str>::from("42"), key, name);
    check(Cow::Borrowed("42"), key, name);
    check(Cow::<str>::Owned("42".to_owned()), key, name);
    assert_ne!(key, LockKey::from(42));
}

#[test]
fn every_integer_that_fits_is_itself() {
    let key = |number: i64| LockKey(Space::Bigint(number));
    check(42, key(42), None);
    check(-42, key(-42), None);
    check(i8::MIN, key(-128), None);
    check(i16::MIN, key(-32_768), None);
    check(i32::MIN, key(-2_147_483_648), None);
    check(i64::MIN, key(i64::MIN), None);
    check(u8::MAX, key(255), None);
    check(u16::MAX, key(65_535), None);
    check(u32::MAX, key(4_294_967_295), None);
    check((5, -7), LockKey(Space::Pair(5, -7)), None);
    check(key(42), key(42), None);
}

/// Golden, as the keys of names are: never change them.
#[test]
fn unsigned_ids_keep_their_bits() {
    let vectors = [
        (0, 0_i64),
        (42, 42),
        (i64::MAX as u64, i64::MAX),
        (i64::MAX as u64 + 1, i64::MIN),
        (12_297_829_382_473_034_410, -6_148_914_691_236_517_206),
        (u64::MAX, -1),
    ];
    for (id, key) in vectors {
        assert_eq!(LockKey::from_u64(id), LockKey::from(key), "{id}");
        if let Ok(id) = usize::try_from(id) {
            assert_eq!(LockKey::from_usize(id), LockKey::from(key), "{id}");
        }
    }
}

/// Golden, as the keys of names are: never change them.
#[cfg(feature = "uuid")]
#[test]
fn uuids_are_their_text() {
    let vectors = [
        ("00000000-0000-0000-0000-000000000000", -4337170387165935769_i64),
        ("01890a5d-ac96-774b-bcce-b302099a8057", 4380671973068059530),
        ("67e55044-10b1-426f-9247-bb680e5fe0c8", 6300531016101579783),
        ("ffffffff-ffff-ffff-ffff-ffffffffffff", -954950581847621472),
    ];
    for (text, key) in vectors {
        let id: uuid::Uuid = text.to_uppercase().parse().unwrap();
        check(id, LockKey::from(key), Some(text));
        assert_eq!(LockKey::from(text), LockKey::from(key));
    }
}

#[test]
fn names_that_collide_under_fnv1a_do_not_collide() {
    let (one, other) = ("tenant:036j5l85vu-h", "tenant:1-0z9b69xhfy");
    assert_eq!(interop::fnv1a(one), interop::fnv1a(other));
    assert_ne!(LockKey::from_name(one), LockKey::from_name(other));
}

#[test]
fn the_two_spaces_never_alias() {
    let keys = [
        LockKey::from(5),
        LockKey::from((0, 5)),
        LockKey::from(5_i64 << 32 | 7),
        LockKey::from((5, 7)),
        LockKey::from(-1),
        LockKey::from((-1, -1)),
    ];
    assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
    assert_eq!(keys.iter().map(LockKey::to_string).collect::<HashSet<_>>().len(), keys.len());
    assert_eq!(keys.iter().map(|key| key.pack()).collect::<HashSet<_>>().len(), keys.len());
    assert_eq!(keys.iter().map(|key| key.to_pg_locks()).collect::<HashSet<_>>().len(), keys.len());
}

#[test]
fn keys_sort_bigints_before_pairs_and_by_signed_number() {
    let sorted = [
        LockKey::from(i64::MIN),
        LockKey::from(-1),
        LockKey::from(0),
        LockKey::from(i64::MAX),
        LockKey::from((i32::MIN, i32::MAX)),
        LockKey::from((-1, 0)),
        LockKey::from((0, -1)),
        LockKey::from((0, 0)),
        LockKey::from((i32::MAX, i32::MIN)),
    ];
    assert!(sorted.is_sorted());
}

#[test]
fn extreme_keys_look_as_in_pg_locks() {
    let rows = [
        (LockKey::from(i64::MIN), "-9223372036854775808", (0x8000_0000, 0, 1)),
        (LockKey::from(-1), "-1", (0xffff_ffff, 0xffff_ffff, 1)),
        (LockKey::from(0), "0", (0, 0, 1)),
        (LockKey::from(i64::MAX), "9223372036854775807", (0x7fff_ffff, 0xffff_ffff, 1)),
        (
            LockKey::from((i32::MIN, i32::MAX)),
            "(-2147483648,2147483647)",
            (0x8000_0000, 0x7fff_ffff, 2),
        ),
        (LockKey::from((-1, 0)), "(-1,0)", (0xffff_ffff, 0, 2)),
        (LockKey::from((0, -1)), "(0,-1)", (0, 0xffff_ffff, 2)),
    ];
    for (key, text, row) in rows {
        assert_eq!(key.to_string(), text);
        assert_eq!(text.parse(), Ok(key));
        assert_eq!(key.to_pg_locks(), row);
        assert_eq!(LockKey::from_pg_locks(row.0, row.1, row.2), Some(key));
    }
}

#[test]
fn rows_of_pg_locks_that_are_not_advisory_have_no_key() {
    for objsubid in [i16::MIN, -1, 0, 3, i16::MAX] {
        assert_eq!(LockKey::from_pg_locks(1, 2, objsubid), None);
    }
}

#[test]
fn debug_tells_the_two_spaces_apart() {
    assert_eq!(format!("{:?}", LockKey::from(-7)), "LockKey(-7)");
    assert_eq!(format!("{:?}", LockKey::from((5, 7))), "LockKey(5, 7)");
}

#[test]
fn only_the_printed_form_is_parsed() {
    let refused = [
        "",
        " ",
        "job",
        "+7",
        "007",
        "-0",
        " 7",
        "7 ",
        "0x7",
        "7.0",
        "9223372036854775808",
        "-9223372036854775809",
        "(",
        ")",
        "()",
        "(,)",
        "(5)",
        "(5,)",
        "(,7)",
        "(5, 7)",
        "( 5,7)",
        "(5,7",
        "5,7)",
        "5,7",
        "((5,7))",
        "(5,7,9)",
        "(+5,7)",
        "(5,07)",
        "(-0,7)",
        "(2147483648,0)",
        "(0,-2147483649)",
        "(5,7)\n",
        "٤٢",
    ];
    for text in refused {
        assert!(text.parse::<LockKey>().is_err(), "{text:?}");
    }
}

#[test]
fn the_parse_error_says_what_is_accepted_and_not_what_was_given() {
    let message = "hunter2".parse::<LockKey>().unwrap_err().to_string();
    assert!(message.contains("`42`") && message.contains("`(5,7)`"), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn the_documented_sql_is_the_constant() {
    let source = include_str!("../key.rs");
    let (_, block) = source.split_once("//! ```sql\n").unwrap();
    let (block, _) = block.split_once("//! ```\n").unwrap();
    let lines: Vec<&str> =
        block.lines().map(|line| line.trim_start_matches("//!").trim()).collect();
    assert_eq!(lines.join(" ").replace("( ", "("), LockKey::DERIVATION_SQL);
}

fn any_key() -> impl Strategy<Value = LockKey> {
    prop_oneof![any::<i64>().prop_map(LockKey::from), any::<(i32, i32)>().prop_map(LockKey::from)]
}

proptest! {
    #[test]
    fn text_round_trips(key in any_key()) {
        prop_assert_eq!(key.to_string().parse(), Ok(key));
    }

    #[test]
    fn whatever_parses_prints_as_it_was(text in r"\(?[-+]?[0-9]{1,20}(,-?[0-9]{1,11})?\)?") {
        if let Ok(key) = text.parse::<LockKey>() {
            prop_assert_eq!(key.to_string(), text);
        }
    }

    #[test]
    fn packing_round_trips(key in any_key(), is_pair: bool, bits: i64) {
        let (packed_is_pair, packed_bits) = key.pack();
        prop_assert_eq!(LockKey::unpack(packed_is_pair, packed_bits), key);
        prop_assert_eq!(LockKey::unpack(is_pair, bits).pack(), (is_pair, bits));
    }

    #[test]
    fn pg_locks_round_trips(key in any_key(), classid: u32, objid: u32, objsubid in 1i16..=2) {
        let (row_classid, row_objid, row_objsubid) = key.to_pg_locks();
        prop_assert_eq!(LockKey::from_pg_locks(row_classid, row_objid, row_objsubid), Some(key));
        let read = LockKey::from_pg_locks(classid, objid, objsubid).map(LockKey::to_pg_locks);
        prop_assert_eq!(read, Some((classid, objid, objsubid)));
    }

    #[test]
    fn moving_text_between_namespace_and_name_changes_the_key(text in "[a-z/]{1,20}", one: usize, other: usize) {
        let (one, other) = (one % (text.len() + 1), other % (text.len() + 1));
        let split = |at: usize| in_namespace(&text[..at], &text[at..]);
        prop_assert_eq!(split(one) == split(other), one == other);
    }
}
