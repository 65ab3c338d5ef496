//! Threads that wait: woken while they wait for something else, and called by the engine.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake};
use std::thread;
use std::time::Duration;

use pglock_core::blocking::Wait;
use pglock_core::migration::run_exclusively;
use pglock_core::{Error, ErrorKind, Locks, Result};
use pglock_testkit::memory::MemoryServer;
use tokio::sync::oneshot;

const PATIENCE: Duration = Duration::from_secs(20);

/// A thread has one token. The inner wait takes it, although it is for the outer one.
#[test]
fn wait_in_a_wait_hides_no_wake() {
    let mut is_woken = false;
    let outer = poll_fn(|cx| {
        if is_woken {
            return Poll::Ready(Ok::<_, Error>(()));
        }
        is_woken = true;
        let (send, sent) = oneshot::channel();
        let waker = cx.waker().clone();
        let wakes = thread::spawn(move || {
            waker.wake();
            let _ = send.send(());
        });
        async { Ok::<_, Error>(sent.await) }.wait().unwrap().unwrap();
        wakes.join().unwrap();
        Poll::Pending
    });
    outer.wait().unwrap();
}

#[test]
fn work_that_blocks_runs_exclusively() {
    let server = MemoryServer::new();
    let work = async {
        let locks = server.locks();
        locks.rwlock("key").write().wait()?.release().wait()
    };
    run_exclusively(server.driver(), work).wait().unwrap().unwrap();
}

#[test]
fn function_of_a_loss_may_wait() {
    let server = MemoryServer::new();
    let locks = server.locks();
    let guard = locks.rwlock("key").write().wait().unwrap();
    let (tell, told) = mpsc::channel();
    guard.on_loss(move || {
        let again = locks.rwlock("key").write().wait();
        tell.send(again.map(|guard| guard.is_held())).unwrap();
    });
    server.terminate_all();
    assert!(told.recv_timeout(PATIENCE).unwrap().unwrap());
}

/// Calls the manager on the thread that wakes a future.
struct Calls(Locks, Mutex<mpsc::Sender<(Option<String>, Result<()>)>>);

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        let thread = thread::current().name().map(String::from);
        let _ = self.1.lock().unwrap().send((thread, self.0.check().wait()));
    }
}

#[test]
fn wait_on_the_engine_thread_is_refused() {
    let server = MemoryServer::new();
    let (ours, theirs) = (server.locks(), server.locks());
    let guard = ours.rwlock("key").write().wait().unwrap();
    let (tell, told) = mpsc::channel();
    let waker = Arc::new(Calls(theirs.clone(), Mutex::new(tell))).into();
    let lock = theirs.rwlock("key");
    let mut wait = pin!(lock.write());
    let is_in_line = || {
        let entries = theirs.inspect("key").wait().unwrap();
        entries.iter().any(|entry| !entry.granted)
    };
    while wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() && !is_in_line() {
        thread::yield_now();
    }
    guard.release().wait().unwrap();
    loop {
        let (thread, called) = told.recv_timeout(PATIENCE).unwrap();
        if thread.as_deref() == Some("pglock") {
            assert_eq!(called.unwrap_err().kind(), ErrorKind::BlockingInTask);
            return;
        }
    }
}
