//! Every order of the threads of callers and of the session between them, as far as they meet at
//! mutexes and atomics: `scripts/interleavings`.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicU32;
use loom::sync::{Condvar, Mutex};
use loom::thread::{self, JoinHandle};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::{AnyDriver, Client, Held};
use crate::driver::Answer;
use crate::engine::machine::config::Config;
use crate::engine::machine::event::{Event, Job, Patience, ServerFacts, SessionId};
use crate::engine::runtime::Shared;
use crate::engine::runtime::tasks::Settings;
use crate::error::{Error, ErrorKind};
use crate::key::LockKey;
use crate::mode::Mode::{self, Read, Write};

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
fn a_loss_is_told_once_to_whoever_still_holds() {
    check(|| {
        let (client, _) = client();
        let [leaves, stays, asks_late, leaves_after] =
            [(); 4].map(|()| served(&client, acquire(&client, Read)).expect("it is shared"));
        let told: Arc<[AtomicU32; 4]> = Arc::default();
        let count = |place: usize| {
            let told = told.clone();
            Box::new(move || {
                told[place].fetch_add(1, Ordering::Relaxed);
            })
        };
        leaves.lease().on_loss(count(0));
        stays.lease().on_loss(count(1));
        leaves_after.lease().on_loss(count(3));
        let session = thread::spawn({
            let shared = client.shared.clone();
            move || {
                let error = Error::new(ErrorKind::Connection, "the connection has ended");
                shared.session_gone(SESSION, Event::Ended { session: SESSION, error });
            }
        });
        let count_late = count(2);
        let other = thread::spawn(move || {
            asks_late.lease().on_loss(count_late);
            drop(leaves);
            asks_late
        });
        block_on(leaves_after.lease().lost());
        // Whoever has seen the loss is told of it, even if it leaves at once.
        drop(leaves_after);
        block_on(stays.lease().lost());
        assert!(!stays.is_held());
        let asks_late = other.join().expect("no panic");
        session.join().expect("no panic");
        assert!(!asks_late.is_held());
        let told = [0, 1, 2, 3].map(|place: usize| told[place].load(Ordering::Relaxed));
        // Who leaves while the session ends may or may not be told.
        assert!(matches!(told, [0 | 1, 1, 1, 1]), "{told:?}");
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

const SESSION: SessionId = SessionId(0);

/// Where callers meet.
#[derive(Clone)]
struct Place {
    client: Arc<Client>,
    kick: Arc<Notify>,
    /// loom sees to it that nobody comes to it while a writer is there, or before a writer that has
    /// left is heard of.
    protected: Arc<UnsafeCell<()>>,
}

impl Place {
    fn with_a_writer() -> (Held, Self) {
        let (client, kick) = client();
        let held = served(&client, acquire(&client, Write)).expect("it is free");
        (held, Self { client, kick, protected: Arc::default() })
    }

    /// With a thread for the session, which ends when the client is closed.
    fn in_a_thread(&self, act: impl FnOnce(&Self) + 'static) -> [JoinHandle<()>; 2] {
        let (shared, kick) = (self.client.shared.clone(), self.kick.clone());
        let place = self.clone();
        [thread::spawn(move || serve(&shared, &kick)), thread::spawn(move || act(&place))]
    }

    /// Waits for its turn, and gives it up.
    fn enter(&self, mode: Mode) {
        let held = block_on(acquire(&self.client, mode)).expect("it comes free");
        match mode {
            Read => self.protected.with(|_| ()),
            Write => self.protected.with_mut(|_| ()),
        }
        drop(held);
    }

    fn leave(self, others: [JoinHandle<()>; 2]) {
        drop(self);
        for thread in others {
            thread.join().expect("no panic");
        }
    }
}

/// With an open session, and what wakes it. Nobody has to start a manager: [`serve`] does what the
/// session's task would do.
fn client() -> (Arc<Client>, Arc<Notify>) {
    let config = Config { max_shared_sessions: 1, ..Config::default() };
    let shared = Arc::new(Shared::new(config, 1, None));
    shared.claim_manager();
    let settings = Settings {
        application_name: "".into(),
        connect_timeout: Duration::ZERO,
        lease: Config::default().lease,
        runtime: None,
    };
    let (driver, settings) = (Arc::new(NoDriver), Arc::new(settings));
    let client = Arc::new(Client { shared, names: Arc::default(), driver, settings });
    // Somebody has to ask before a session is opened.
    assert!(poll_once(pin!(acquire(&client, Write))).is_pending());
    let shared = &client.shared;
    assert_eq!(shared.chores().open, [SESSION]);
    let (_, kick) = shared.session_starts(SESSION);
    shared.step(Event::Opened { session: SESSION, server: ServerFacts::default() });
    (client, kick)
}

/// Never needed, as a manager is claimed already.
#[derive(Debug)]
struct NoDriver;

impl AnyDriver for NoDriver {
    fn start_manager(self: Arc<Self>, _: &Arc<Shared>, _: &Handle, _: &Arc<Settings>) {}
}

async fn acquire(client: &Arc<Client>, mode: Mode) -> Option<Held> {
    let acquired = client.acquire(LockKey::from(7), None, mode, Patience::Wait);
    acquired.await.expect("the server lives")
}

/// Drives the future while there are no other threads.
fn served<T>(client: &Client, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = poll_once(future.as_mut()) {
            return output;
        }
        while turn(&client.shared) == Turn::Answered {}
    }
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// A server that nobody else uses, until the client is closed.
fn serve(shared: &Shared, kick: &Notify) {
    loop {
        match turn(shared) {
            Turn::Answered => {}
            Turn::Idle => block_on(kick.notified()),
            Turn::Close => {
                let closed = Event::Ended { session: SESSION, error: Error::closed() };
                return shared.session_gone(SESSION, closed);
            }
        }
    }
}

#[derive(PartialEq)]
enum Turn {
    Answered,
    Idle,
    Close,
}

fn turn(shared: &Shared) -> Turn {
    match shared.next_job(SESSION) {
        Job::Run(operations) => {
            let answer: Answer = operations.iter().map(|_| true).collect();
            shared.step(Event::Answered { session: SESSION, answer });
            Turn::Answered
        }
        Job::Idle => Turn::Idle,
        Job::Close => Turn::Close,
        job @ (Job::Holdings | Job::Inspect(_)) => panic!("nobody asks for that: {job:?}"),
    }
}

/// Puts a thread to sleep until it is woken.
#[derive(Default)]
struct Parker {
    woken: Mutex<bool>,
    wakes: Condvar,
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().expect("no panic") = true;
        self.wakes.notify_one();
    }
}

/// As loom's own, but its waker can be cloned and dropped without a change of thread, as tokio does
/// under a mutex that loom does not know.
fn block_on<F: Future>(future: F) -> F::Output {
    let parker = Arc::new(Parker::default());
    let waker = Waker::from(parker.clone());
    let mut future = pin!(future);
    loop {
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        if let Poll::Ready(output) = polled {
            return output;
        }
        let mut woken = parker.woken.lock().expect("no panic");
        while !std::mem::take(&mut *woken) {
            woken = parker.wakes.wait(woken).expect("no panic");
        }
    }
}
