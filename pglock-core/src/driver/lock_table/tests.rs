//! PostgreSQL's rules, one by one.

use super::LockTable;
use crate::driver::Holding;
use crate::key::LockKey;
use crate::mode::Mode::{Read, Write};

const A: i32 = 1;
const B: i32 = 2;
const C: i32 = 3;
const D: i32 = 4;

fn key() -> LockKey {
    "key".into()
}

#[test]
fn locks_stack_per_session_and_mode() {
    let mut table = LockTable::new();
    assert!(table.try_lock(A, key(), Write));
    assert!(table.try_lock(A, key(), Write));
    assert!(table.try_lock(A, key(), Read));
    assert!(!table.lock(B, key(), Read));
    assert_eq!(table.unlock(A, key(), Write), Some(vec![]));
    assert_eq!(table.unlock(A, key(), Write), Some(vec![B]));
    assert_eq!(table.unlock(A, key(), Write), None);
    assert_eq!(table.holdings(A).collect::<Vec<_>>(), [Holding { key: key(), mode: Read }]);
}

#[test]
fn readers_behind_a_waiting_writer_come_in_together() {
    let mut table = LockTable::new();
    assert!(table.lock(A, key(), Read));
    assert!(!table.lock(B, key(), Write));
    assert!(!table.try_lock(C, key(), Read));
    assert!(!table.lock(C, key(), Read) && !table.lock(D, key(), Read));
    assert_eq!(table.unlock(A, key(), Read), Some(vec![B]));
    assert_eq!(table.unlock_all(B), [C, D]);
}

#[test]
fn holder_queues_ahead_of_those_that_wait_for_it() {
    let mut table = LockTable::new();
    assert!(table.lock(A, key(), Read) && table.lock(B, key(), Read));
    assert!(!table.lock(C, key(), Write));
    assert!(table.try_lock(A, key(), Read));
    // Not yet, but before the other one.
    assert!(!table.lock(A, key(), Write));
    assert_eq!(table.unlock(B, key(), Read), Some(vec![A]));
    assert!(table.unlock_all(A).contains(&C));
}

#[test]
fn queue_moves_on_when_its_first_leaves() {
    let mut table = LockTable::new();
    assert!(table.lock(A, key(), Read));
    assert!(!table.lock(B, key(), Write));
    assert!(!table.lock(C, key(), Read));
    assert_eq!(table.leave_queue(B), [C]);
    table.unlock_all(A);
    table.unlock_all(C);
    assert!(
        table.entries(None).is_empty()
            && table.locks.is_empty()
            && table.held_by.is_empty()
            && table.awaited_by.is_empty()
    );
}

#[test]
fn entries_tell_who_blocks_a_waiter() {
    let mut table = LockTable::new();
    assert!(table.lock(A, key(), Read) && table.lock(B, key(), Read));
    assert!(!table.lock(C, key(), Write) && !table.lock(D, key(), Read));
    let blocked_by: Vec<_> = table.entries(Some(key())).into_iter().map(|e| e.blocked_by).collect();
    assert_eq!(blocked_by, [vec![], vec![], vec![A, B], vec![C]]);
    assert_eq!(table.awaited_by(D), Some(key()));
    assert_eq!(table.count(A, Holding { key: key(), mode: Read }), 1);
}

#[test]
fn deadlock_is_found_by_the_wait_that_closes_the_circle() {
    let [first, second, third] = ["1", "2", "3"].map(LockKey::from);
    let mut table = LockTable::new();
    for (pid, key) in [(A, first), (B, second), (C, third)] {
        assert!(table.lock(pid, key, Write));
    }
    assert!(!table.lock(A, second, Read) && !table.is_deadlocked(A));
    assert!(!table.lock(B, third, Write) && !table.is_deadlocked(B));
    assert!(!table.lock(D, first, Write) && !table.is_deadlocked(D));
    assert!(!table.lock(C, first, Read) && table.is_deadlocked(C));
    table.leave_queue(C);
    assert!(!table.is_deadlocked(A) && !table.is_deadlocked(B));
}

#[test]
fn two_readers_that_both_upgrade_are_deadlocked() {
    let mut table = LockTable::new();
    assert!(table.lock(A, key(), Read) && table.lock(B, key(), Read));
    assert!(!table.lock(A, key(), Write) && !table.is_deadlocked(A));
    assert!(!table.lock(B, key(), Write) && table.is_deadlocked(B));
    table.leave_queue(B);
    assert_eq!(table.unlock(B, key(), Read), Some(vec![A]));
}
