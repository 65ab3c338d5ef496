//! A client whose session is driven by hand, and threads that acquire through it.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use loom::cell::UnsafeCell;
use loom::sync::{Condvar, Mutex};
use loom::thread::{self, JoinHandle};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::super::{AnyDriver, Client, Held};
use crate::driver::Answer;
use crate::engine::dedicated::{Dedicated, Opened};
use crate::engine::machine::config::Config;
use crate::engine::machine::event::{Event, Job, Patience, ServerFacts, SessionId};
use crate::engine::runtime::Shared;
use crate::engine::runtime::tasks::Settings;
use crate::error::{Error, ErrorKind};
use crate::key::LockKey;
use crate::mode::Mode::{self, Read, Write};

pub(super) const SESSION: SessionId = SessionId(0);

pub(super) fn ended() -> Event {
    let error = Error::new(ErrorKind::Connection, "the connection has ended");
    Event::Ended { session: SESSION, error }
}

/// What callers share.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) client: Arc<Client>,
    kick: Arc<Notify>,
    /// loom checks that no other caller enters while a writer is inside, or before it sees that a
    /// previous writer has left.
    pub(super) protected: Arc<UnsafeCell<()>>,
}

impl Place {
    pub(super) fn with_a_writer() -> (Held, Self) {
        let (client, kick) = client();
        let held = served(&client, acquire(&client, Write)).expect("it is free");
        (held, Self { client, kick, protected: Arc::default() })
    }

    /// Runs the session on a thread, which ends when the client is closed.
    pub(super) fn in_a_thread(&self, act: impl FnOnce(&Self) + 'static) -> [JoinHandle<()>; 2] {
        let (shared, kick) = (self.client.shared.clone(), self.kick.clone());
        let place = self.clone();
        [thread::spawn(move || serve(&shared, &kick)), thread::spawn(move || act(&place))]
    }

    /// Waits for its turn, and then gives it up.
    pub(super) fn enter(&self, mode: Mode) {
        let held = block_on(acquire(&self.client, mode)).expect("it comes free");
        match mode {
            Read => self.protected.with(|_| ()),
            Write => self.protected.with_mut(|_| ()),
        }
        drop(held);
    }

    pub(super) fn leave(self, others: [JoinHandle<()>; 2]) {
        drop(self);
        for thread in others {
            thread.join().expect("no panic");
        }
    }
}

/// A client with an open session, and what wakes the session. It needs no manager: [`serve`] does
/// what the session's task would do.
pub(super) fn client() -> (Arc<Client>, Arc<Notify>) {
    let config = Config { max_shared_sessions: 1, ..Config::default() };
    let settings = Settings {
        application_name: "".into(),
        connect_timeout: Duration::ZERO,
        lease: Config::default().lease,
        runtime: None,
    };
    let client = Arc::new(Client::new(Arc::new(NoDriver), config, settings, 1));
    client.shared.claim_manager();
    client.shared.waits().claim_watch();
    // The first request makes the machine open a session.
    assert!(poll_once(pin!(acquire(&client, Write))).is_pending());
    let shared = &client.shared;
    assert_eq!(shared.chores().open, [SESSION]);
    let (_, kick) = shared.session_starts(SESSION);
    shared.step(Event::Opened { session: SESSION, server: ServerFacts::default() });
    (client, kick)
}

/// Never called, because a manager is claimed already.
#[derive(Debug)]
struct NoDriver;

impl AnyDriver for NoDriver {
    fn start_manager(self: Arc<Self>, _: &Arc<Shared>, _: &Handle, _: &Arc<Settings>) {}

    fn start_session(self: Arc<Self>, _: &Arc<Dedicated>, _: &Handle, _: Opened) {}
}

pub(super) async fn acquire(client: &Arc<Client>, mode: Mode) -> Option<Held> {
    let acquired = client.acquire(LockKey::from(7), None, mode, Patience::Wait);
    acquired.await.expect("the server lives")
}

/// Drives the future while there are no other threads.
pub(super) fn served<T>(client: &Client, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = poll_once(future.as_mut()) {
            return output;
        }
        while turn(&client.shared) == Turn::Answered {}
    }
}

pub(super) fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Acts as a server without other users, until the client is closed.
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
pub(super) enum Turn {
    Answered,
    Idle,
    Close,
}

pub(super) fn turn(shared: &Shared) -> Turn {
    match shared.next_job(SESSION) {
        Job::Run(operations) => {
            let answer: Answer = operations.iter().map(|_| true).collect();
            shared.step(Event::Answered { session: SESSION, answer });
            Turn::Answered
        }
        Job::Idle => Turn::Idle,
        Job::Close => Turn::Close,
        job @ (Job::Holdings | Job::Inspect(_) | Job::Token) => {
            panic!("no caller asks for that: {job:?}")
        }
    }
}

/// Parks a thread until it is woken.
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

/// Like loom's own waker, but cloning and dropping it does not switch threads. tokio does both
/// under a mutex that loom does not know.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
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
