//! Measures the engine without a server: how long it takes, and what it allocates.
//!
//! ```text
//! cargo bench --bench micro
//! ```
//!
//! An iteration is one acquire and one release, except for the keys.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use divan::{AllocProfiler, Bencher, black_box};
use pglock_core::driver::{
    Answer, Driver, DriverError, Fact, Question, Request, Row, Session, Topic,
};
use pglock_core::{DistributedRwLock, LockKey, Locks, Result, RwLock};
use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

#[divan::bench(args = [8, 64, 1024])]
fn key_of_a_name(bencher: Bencher<'_, '_>, length: usize) {
    let name = "n".repeat(length);
    bencher.bench(|| LockKey::from(black_box(name.as_str())));
}

/// A lock passes from one task to the next, which waits for it.
#[divan::bench]
fn hand_over(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    let lock = lock();
    let mut held = runtime.block_on(lock.write()).ok();
    bencher.bench_local(|| {
        let mut next = pin!(lock.write());
        assert!(poll(next.as_mut()).is_pending());
        drop(held.take());
        held = finish(&runtime, next).ok();
        assert!(held.is_some());
    });
}

/// The same through the trait, whose futures are boxed.
#[divan::bench]
fn hand_over_dyn(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    let lock = lock();
    let lock: &dyn DistributedRwLock = &lock;
    let mut held = runtime.block_on(lock.write()).ok();
    bencher.bench_local(|| {
        let mut next = lock.write();
        assert!(poll(next.as_mut()).is_pending());
        drop(held.take());
        held = finish(&runtime, next.as_mut()).ok();
        assert!(held.is_some());
    });
}

/// A reader takes and releases the lock while another one holds it.
#[divan::bench]
fn join(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    let lock = lock();
    let held = runtime.block_on(lock.read());
    assert!(held.is_ok());
    bencher.bench_local(|| {
        assert!(finish(&runtime, pin!(lock.read())).is_ok());
    });
}

/// The whole way to a server that answers immediately.
#[divan::bench]
fn confirmed(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    let lock = lock();
    bencher.bench_local(|| {
        let done: Result<()> = runtime.block_on(async { lock.write().await?.release().await });
        assert!(done.is_ok());
    });
}

fn lock() -> RwLock {
    Locks::new(Memory).rwlock(1)
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("the system lends a runtime")
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Usually needs no runtime. Occasionally the engine asks its server, so that other tasks get their
/// turn.
fn finish<F: Future + ?Sized>(runtime: &Runtime, mut future: Pin<&mut F>) -> F::Output {
    match poll(future.as_mut()) {
        Poll::Ready(output) => output,
        Poll::Pending => runtime.block_on(future),
    }
}

/// A server without other users: everything succeeds.
#[derive(Debug)]
struct Memory;

struct MemorySession;

impl Driver for Memory {
    type Session = MemorySession;

    async fn connect(&self) -> Result<MemorySession, DriverError> {
        Ok(MemorySession)
    }
}

impl Session for MemorySession {
    async fn run(&mut self, request: &Request) -> Result<Answer, DriverError> {
        Ok(request.to_operations().map(|_| true).collect())
    }

    async fn ask(&mut self, question: &Question) -> Result<Vec<Row>, DriverError> {
        Ok(match question.topic() {
            Topic::Open => vec![
                Fact::Pid.to_row(1),
                Fact::Version.to_row(150_000),
                Fact::InRecovery.to_row(0),
                Fact::EarlierSession.to_row(0),
            ],
            _ => vec![(1, None)],
        })
    }

    async fn closed(&mut self) -> DriverError {
        std::future::pending().await
    }

    async fn close(self) {}
}
