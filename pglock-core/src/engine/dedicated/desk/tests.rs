//! The desk, event by event, and at random against a lock table.

mod random;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::{Caller, Desk, Job, Patience, Verdict};
use crate::driver::Holding;
use crate::engine::machine::event::Moment;
use crate::error::{Error, ErrorKind};
use crate::mode::Mode;

#[derive(Clone, Debug)]
struct Person {
    number: usize,
    is_gone: Rc<Cell<bool>>,
}

impl Caller for Person {
    fn is_gone(&self) -> bool {
        self.is_gone.get()
    }
}

fn person(number: usize) -> Person {
    Person { number, is_gone: Rc::default() }
}

fn lock(key: i64) -> Holding {
    Holding { key: key.into(), mode: Mode::Write }
}

fn at(millis: u64) -> Moment {
    Moment::after_start(Duration::from_millis(millis))
}

/// What came out, as numbers of callers with a word each.
fn replies(desk: &mut Desk<Person>) -> Vec<(usize, String)> {
    let reply = |(person, verdict): (Person, Verdict)| {
        let word = match verdict {
            Verdict::Granted(_) => "granted".to_owned(),
            Verdict::Busy => "busy".to_owned(),
            Verdict::Released => "released".to_owned(),
            Verdict::Failed(error) => format!("{:?}", error.kind()),
        };
        (person.number, word)
    };
    desk.verdicts.drain(..).map(reply).collect()
}

fn said(number: usize, word: &str) -> (usize, String) {
    (number, word.to_owned())
}

/// A desk that has this lock.
fn with_lock(key: i64) -> Desk<Person> {
    let mut desk = Desk::new();
    desk.acquire(lock(key), Patience::Wait, at(0), person(0));
    assert_eq!(desk.next_job(at(0)), Job::Try(lock(key)));
    desk.tried(true);
    assert_eq!(replies(&mut desk), [said(0, "granted")]);
    desk
}

#[test]
fn second_guard_needs_no_server() {
    let mut desk = with_lock(1);
    desk.acquire(lock(1), Patience::Try, at(0), person(1));
    assert_eq!(replies(&mut desk), [said(1, "granted")]);
    desk.release(lock(1), None);
    assert_eq!(desk.next_job(at(0)), Job::Idle);
    desk.release(lock(1), Some(person(2)));
    assert_eq!(desk.next_job(at(0)), Job::Unlock(vec![lock(1)]));
    desk.unlocked([true].into_iter());
    assert_eq!(replies(&mut desk), [said(2, "released")]);
}

#[test]
fn release_of_one_of_two_guards_is_confirmed_by_what_the_session_holds() {
    let mut desk = with_lock(1);
    desk.acquire(lock(1), Patience::Wait, at(0), person(1));
    desk.release(lock(1), Some(person(2)));
    replies(&mut desk);
    assert_eq!(desk.next_job(at(0)), Job::Holdings);
    assert!(desk.found(&[lock(1)]));
    assert_eq!(replies(&mut desk), [said(2, "released")]);
    assert!(!desk.found(&[]), "it was taken away");
}

#[test]
fn failed_wait_is_answered_when_the_session_is_known_to_be_clean() {
    let mut desk = with_lock(1);
    desk.acquire(lock(2), Patience::Wait, at(0), person(1));
    assert_eq!(desk.next_job(at(0)), Job::Try(lock(2)));
    desk.tried(false);
    assert_eq!(desk.next_job(at(0)), Job::Wait(lock(2), None));
    desk.refused(Some(Error::new(ErrorKind::Deadlock, "a deadlock")));
    assert_eq!(replies(&mut desk), []);
    assert_eq!(desk.next_job(at(0)), Job::Holdings);
    assert!(desk.found(&[lock(1)]));
    assert_eq!(replies(&mut desk), [said(1, "Deadlock")]);
    assert_eq!(desk.next_job(at(0)), Job::Idle);
}

#[test]
fn failed_wait_that_was_granted_is_a_grant() {
    let mut desk = with_lock(1);
    desk.acquire(lock(2), Patience::Wait, at(0), person(1));
    desk.next_job(at(0));
    desk.tried(false);
    desk.next_job(at(0));
    desk.refused(Some(Error::new(ErrorKind::Deadlock, "a deadlock")));
    desk.next_job(at(0));
    assert!(desk.found(&[lock(1), lock(2)]));
    assert_eq!(replies(&mut desk), [said(1, "granted")]);
}

#[test]
fn wait_without_a_caller_is_interrupted_and_leaves_nothing() {
    let mut desk = with_lock(1);
    let caller = person(1);
    desk.acquire(lock(2), Patience::Wait, at(0), caller.clone());
    desk.next_job(at(0));
    desk.tried(false);
    desk.next_job(at(0));
    assert!(!desk.interrupts(at(0)));
    caller.is_gone.set(true);
    assert!(desk.interrupts(at(0)));
    desk.refused(None);
    assert_eq!(desk.next_job(at(0)), Job::Holdings);
    // It was granted at the last moment. What a caller that is gone does not take, it releases.
    assert!(desk.found(&[lock(1), lock(2)]));
    assert_eq!(replies(&mut desk), [said(1, "granted")]);
    desk.release(lock(2), None);
    assert_eq!(desk.next_job(at(0)), Job::Unlock(vec![lock(2)]));
}

#[test]
fn releases_and_tries_interrupt_a_wait_and_come_first() {
    let mut desk = with_lock(1);
    desk.acquire(lock(2), Patience::Wait, at(0), person(1));
    desk.next_job(at(0));
    desk.tried(false);
    desk.next_job(at(0));
    desk.acquire(lock(3), Patience::Wait, at(0), person(2));
    assert!(!desk.interrupts(at(0)), "one wait does not disturb another");
    desk.acquire(lock(3), Patience::Try, at(0), person(3));
    desk.release(lock(1), None);
    assert!(desk.interrupts(at(0)));
    desk.refused(None);
    assert_eq!(desk.next_job(at(0)), Job::Holdings);
    assert!(desk.found(&[lock(1)]));
    assert_eq!(desk.next_job(at(0)), Job::Unlock(vec![lock(1)]));
    desk.unlocked([true].into_iter());
    assert_eq!(desk.next_job(at(0)), Job::Try(lock(3)));
    desk.tried(true);
    assert_eq!(replies(&mut desk), [said(3, "granted")]);
    assert_eq!(desk.next_job(at(0)), Job::Wait(lock(2), None));
    // The other wait for the same lock got it meanwhile.
    assert_eq!(replies(&mut desk), [said(2, "granted")]);
}

#[test]
fn time_runs_out_in_line_and_at_the_server() {
    let mut desk = Desk::new();
    desk.acquire(lock(1), Patience::Until(at(100)), at(0), person(1));
    desk.acquire(lock(2), Patience::Until(at(50)), at(0), person(2));
    desk.next_job(at(0));
    desk.tried(false);
    assert_eq!(desk.next_job(at(0)), Job::Wait(lock(1), Some(at(100))));
    assert_eq!(desk.next_deadline(), Some(at(50)));
    assert!(!desk.interrupts(at(50)));
    assert_eq!(replies(&mut desk), [said(2, "Timeout")]);
    desk.refused(None);
    desk.next_job(at(100));
    assert!(desk.found(&[]));
    assert_eq!(desk.next_job(at(100)), Job::Holders(lock(1).key));
    desk.timed_out(Vec::new());
    assert_eq!(replies(&mut desk), [said(1, "Timeout")]);
    assert_eq!(desk.next_job(at(100)), Job::Idle);
}

#[test]
fn no_time_is_one_try() {
    let mut desk = Desk::new();
    desk.acquire(lock(1), Patience::Until(at(7)), at(7), person(1));
    assert_eq!(desk.next_job(at(8)), Job::Try(lock(1)));
    desk.tried(false);
    assert_eq!(desk.next_job(at(8)), Job::Holders(lock(1).key));
}

#[test]
fn first_in_line_is_tried_even_if_its_time_is_over() {
    let mut desk = Desk::new();
    desk.acquire(lock(1), Patience::Until(at(1)), at(0), person(1));
    desk.acquire(lock(2), Patience::Until(at(1)), at(0), person(2));
    assert_eq!(desk.next_job(at(5)), Job::Try(lock(1)));
    assert_eq!(replies(&mut desk), [said(2, "Timeout")]);
    desk.tried(false);
    assert_eq!(desk.next_job(at(5)), Job::Holders(lock(1).key));
}

#[test]
fn end_answers_everyone_and_the_last_guard_closes_a_session_that_was_left() {
    let mut desk = with_lock(1);
    desk.leave();
    assert_eq!(desk.next_job(at(0)), Job::Idle);
    desk.release(lock(1), Some(person(1)));
    assert_eq!(desk.next_job(at(0)), Job::Unlock(vec![lock(1)]));
    desk.unlocked([true].into_iter());
    assert_eq!(replies(&mut desk), [said(1, "released")]);
    assert_eq!(desk.next_job(at(0)), Job::Close);

    let mut desk = with_lock(1);
    desk.acquire(lock(2), Patience::Wait, at(0), person(1));
    desk.next_job(at(0));
    desk.acquire(lock(3), Patience::Try, at(0), person(2));
    assert_eq!(desk.end(Error::session_closed()), 1);
    assert_eq!(replies(&mut desk), [said(2, "Closed"), said(1, "Closed")]);
    desk.tried(true);
    desk.release(lock(1), Some(person(3)));
    desk.acquire(lock(1), Patience::Wait, at(0), person(4));
    assert_eq!(replies(&mut desk), [said(3, "Closed"), said(4, "Closed")]);
    assert_eq!(desk.next_job(at(0)), Job::Close);
}
