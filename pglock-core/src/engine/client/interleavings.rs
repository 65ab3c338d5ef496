//! Tries every order in which the threads of callers and of the session can meet at mutexes and
//! atomics. Run by `scripts/interleavings`.

mod harness;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use loom::sync::atomic::AtomicU32;
use loom::thread;

use self::harness::{
    Place, SESSION, Turn, acquire, block_on, client, ended, poll_once, served, turn,
};
use crate::mode::Mode::{Read, Write};

fn check(run: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound.get_or_insert(3);
    model.max_branches = 10_000;
    model.check(run);
}

#[test]
fn writers_follow_each_other() {
    check(|| {
        let (mut first, place) = Place::with_a_writer();
        let other = place.in_a_thread(|place| place.enter(Write));
        place.protected.with_mut(|_| ());
        block_on(first.release()).expect("the session lives");
        drop(first);
        place.enter(Write);
        place.leave(other);
    });
}

#[test]
fn readers_come_together_and_writers_do_not_come_to_them() {
    check(|| {
        let (first, place) = Place::with_a_writer();
        let other = place.in_a_thread(|place| place.enter(Read));
        place.protected.with_mut(|_| ());
        drop(first);
        place.enter(Read);
        place.enter(Write);
        place.leave(other);
    });
}

#[test]
fn who_gives_up_leaves_nothing_behind() {
    check(|| {
        let (first, place) = Place::with_a_writer();
        let other = place.in_a_thread(|place| {
            if let Poll::Ready(held) = poll_once(pin!(acquire(&place.client, Write))) {
                place.protected.with_mut(|_| ());
                drop(held);
            }
        });
        place.protected.with_mut(|_| ());
        drop(first);
        place.enter(Write);
        place.leave(other);
    });
}

#[test]
fn a_loss_is_reported_once_by_each_guard_that_remains() {
    check(|| {
        let (client, _) = client();
        let [leaves, stays, asks_late, leaves_after] =
            [(); 4].map(|()| served(&client, acquire(&client, Read)).expect("it is shared"));
        let calls: Arc<[AtomicU32; 4]> = Arc::default();
        let count = |place: usize| {
            let calls = calls.clone();
            Box::new(move || {
                calls[place].fetch_add(1, Ordering::Relaxed);
            })
        };
        leaves.lease().on_loss(count(0));
        stays.lease().on_loss(count(1));
        leaves_after.lease().on_loss(count(3));
        let session = thread::spawn({
            let shared = client.shared.clone();
            move || shared.session_gone(SESSION, ended())
        });
        let count_late = count(2);
        let other = thread::spawn(move || {
            asks_late.lease().on_loss(count_late);
            drop(leaves);
            asks_late
        });
        block_on(leaves_after.lease().lost());
        // A guard that has seen the loss also reports it, even if it is dropped at once.
        drop(leaves_after);
        block_on(stays.lease().lost());
        assert!(!stays.is_held());
        let asks_late = other.join().expect("no panic");
        session.join().expect("no panic");
        assert!(!asks_late.is_held());
        let calls = [0, 1, 2, 3].map(|place: usize| calls[place].load(Ordering::Relaxed));
        // A guard that is dropped while the session ends may or may not report the loss.
        assert!(matches!(calls, [0 | 1, 1, 1, 1]), "{calls:?}");
    });
}

#[test]
fn a_release_succeeds_only_if_the_server_answered_before_the_loss() {
    check(|| {
        let (client, _) = client();
        let mut guard = served(&client, acquire(&client, Write)).expect("it is free");
        let lease = guard.lease().clone();
        let shared = client.shared.clone();
        let session = thread::spawn(move || {
            let answered = turn(&shared) == Turn::Answered;
            shared.session_gone(SESSION, ended());
            answered
        });
        let released = block_on(guard.release());
        block_on(lease.lost());
        assert!(!lease.is_held());
        assert_eq!(released.is_ok(), session.join().expect("no panic"));
    });
}

#[test]
fn a_lease_ends_with_its_guard() {
    check(|| {
        let (client, _) = client();
        let guard = served(&client, acquire(&client, Read)).expect("it is free");
        let lease = guard.lease().clone();
        let other = thread::spawn(move || drop(guard));
        block_on(lease.lost());
        assert!(!lease.is_held());
        other.join().expect("no panic");
    });
}
