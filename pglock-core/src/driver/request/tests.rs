//! Tests of the wire form of operations.

use super::Operation::{
    Cancel, Downgrade, LetIn, LimitWait, Lock, Ping, Probe, TryAlso, TryFirst, TryInstead, TryLock,
    Unlock, UnlockAll, Upgrade,
};
use super::*;

#[test]
fn operations_keep_their_meaning_through_the_wire_form() {
    for key in [
        LockKey::from(i64::MIN),
        LockKey::from(-1),
        LockKey::from((i32::MIN, i32::MAX)),
        LockKey::from((-7, 9)),
    ] {
        for mode in [Mode::Read, Mode::Write] {
            for operation in [TryLock(key, mode), Unlock(key, mode), Lock(key, mode)] {
                let (code, operand) = operation.encode();
                assert!(sql::few(&[code]).is_some());
                assert_eq!(Operation::decode(code, operand), Some(operation));
            }
        }
        for operation in [Probe(key), Downgrade(key), LetIn(key), Upgrade(key)] {
            let (code, operand) = operation.encode();
            assert!(sql::few(&[code]).is_some());
            assert_eq!(Operation::decode(code, operand), Some(operation));
        }
        for mode in [Mode::Read, Mode::Write] {
            for operation in [TryFirst(key, mode), TryAlso(key, mode), TryInstead(key, mode)] {
                let (code, operand) = operation.encode();
                assert_eq!(Operation::decode(code, operand), Some(operation));
            }
        }
    }
    for operation in [Cancel(4711), UnlockAll, Ping, LimitWait(7500)] {
        let (code, operand) = operation.encode();
        assert_eq!(Operation::decode(code, operand), Some(operation));
    }
}

#[test]
fn results_keep_their_order() {
    let results = [false, true, true];
    let answer: Answer = results.into_iter().collect();
    assert_eq!(answer, Some("011".to_owned()).into());
    assert!(answer.results(3).is_some_and(|read| read.eq(results)));
}

#[test]
fn an_answer_that_does_not_fit_has_no_results() {
    let is_fit = |digits: Option<&str>, operations| {
        Answer::from(digits.map(str::to_owned)).results(operations).is_some()
    };
    assert!(is_fit(Some("10"), 2));
    assert!(!is_fit(Some("10"), 3));
    assert!(!is_fit(Some("10"), 1));
    assert!(!is_fit(Some("1f"), 2));
    assert!(!is_fit(Some(""), 1));
    assert!(!is_fit(None, 1));
}

#[test]
fn parameters_appear_once_each_and_in_order() {
    let one = sql::few(&[TRY_LOCK]).unwrap();
    let upgrade = sql::few(&[UPGRADE]).unwrap();
    let two = sql::few(&[UNLOCK, TRY_LOCK]).unwrap();
    let many = [&[TRY_LOCK, UNLOCK][..], &[TRY_FIRST, TRY_ALSO][..], &[TRY_LOCK, PING][..]];
    let many = many.map(sql::many);
    assert!(many[0] != many[1] && many[1] != many[2]);
    let many = many.map(|text| (text, 3));
    let all = [(sql::OPEN, 5), (one, 2), (upgrade, 2), (two, 3), (sql::HOLDINGS, 1)];
    for (text, count) in all.into_iter().chain(many) {
        let places: Vec<_> = text.match_indices('$').map(|(at, _)| &text[at..at + 2]).collect();
        assert_eq!(places, ["$1", "$2", "$3", "$4", "$5"][..count]);
    }
}
