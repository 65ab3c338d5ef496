//! What is allocated when a lock passes between tasks of one process and when callers wait for it,
//! and which tasks are woken.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use allocation_counter::measure;
use pglock_core::{DistributedRwLock, Locks, Result, WriteGuard};
use pglock_testkit::memory::MemoryServer;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinHandle, yield_now};

const TURNS: u64 = 1000;
const WAITERS: usize = 10_000;

#[test]
fn a_lock_that_passes_on_allocates_nothing() {
    assert_eq!(allocations_of_passing_on(drop), 0);
}

#[test]
fn a_lock_that_passes_on_through_the_trait_allocates_its_future() {
    let (runtime, locks) = start();
    let lock: &dyn DistributedRwLock = &locks.rwlock("key");
    let mut held = runtime.block_on(lock.write()).ok();
    let mut pass = || {
        let mut next = lock.write();
        assert!(poll(next.as_mut()).is_pending());
        drop(held.take());
        held = Some(done(next.as_mut()));
    };
    pass();
    assert_eq!(measure(|| (0..TURNS).for_each(|_| pass())).count_total, TURNS);
}

#[test]
fn a_release_that_hands_over_allocates_nothing() {
    // The next caller has the lock at once. This test does not need the later confirmation by the
    // session.
    let release = |guard: WriteGuard| assert!(poll(pin!(guard.release())).is_pending());
    assert_eq!(allocations_of_passing_on(release), 0);
}

fn allocations_of_passing_on(give_up: impl Fn(WriteGuard)) -> u64 {
    let (runtime, locks) = start();
    let lock = locks.rwlock("key");
    let mut held = runtime.block_on(lock.write()).ok();
    let mut pass = || {
        let mut next = pin!(lock.write());
        assert!(poll(next.as_mut()).is_pending());
        give_up(held.take().expect("it is held"));
        held = Some(done(next));
    };
    pass();
    measure(|| (0..TURNS).for_each(|_| pass())).count_total
}

#[test]
fn a_reader_that_joins_another_allocates_nothing() {
    let (runtime, locks) = start();
    let lock = locks.rwlock("key");
    let held = runtime.block_on(lock.read());
    let join = || drop(done(pin!(lock.read())));
    join();
    assert_eq!(measure(|| (0..TURNS).for_each(|_| join())).count_total, 0);
    drop(held);
}

#[test]
fn only_a_waiting_caller_is_woken_and_only_once() {
    #[derive(Default)]
    struct Woken(AtomicUsize);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let woken = Arc::<Woken>::default();
    let waker = Waker::from(woken.clone());
    let cx = &mut Context::from_waker(&waker);
    let (runtime, locks) = start();
    let lock = locks.rwlock("key");
    let held = runtime.block_on(lock.read()).expect("it is free");

    assert!(pin!(lock.read()).poll(cx).is_ready());
    assert!(pin!(lock.try_write()).poll(cx).is_ready());
    assert_eq!(woken.0.load(Ordering::Relaxed), 0);

    let mut waiting = pin!(lock.write());
    assert!(waiting.as_mut().poll(cx).is_pending());
    drop(held);
    runtime.block_on(locks.inspect_all()).expect("the server lives");
    assert!(waiting.poll(cx).is_ready());
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
}

/// Includes its task, as in an application.
#[test]
fn a_waiter_needs_less_than_a_kibibyte() {
    let (runtime, locks) = start();
    let lock = locks.rwlock("key");
    let held = runtime.block_on(lock.write());
    let mut tasks: Vec<JoinHandle<Result<()>>> = Vec::with_capacity(WAITERS);
    let wait = async {
        for _ in 0..WAITERS {
            let lock = lock.clone();
            tasks.push(tokio::spawn(async move { lock.write().await?.release().await }));
        }
        while locks.stats().waiting < WAITERS {
            yield_now().await;
        }
    };
    let allocations = measure(|| runtime.block_on(wait));
    let bytes = allocations.bytes_current.unsigned_abs() as usize / WAITERS;
    println!(
        "{bytes} bytes for each of {WAITERS} waiters, at most {} kB",
        allocations.bytes_max / 1000
    );
    assert!(bytes < 1024, "{bytes} bytes");
    drop(held);
    runtime.block_on(async {
        for task in tasks {
            task.await.expect("it does not panic").expect("its turn comes");
        }
    });
}

/// The lock may pass on without limit, so that the manager sends nothing to the server meanwhile.
fn start() -> (Runtime, Locks) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    // On the thread of the test, so that everything is counted, in a fixed order.
    let builder = Locks::builder(MemoryServer::new().driver()).runtime(runtime.handle().clone());
    let locks = builder.hand_over_count(u32::MAX).hand_over_age(Duration::MAX).build();
    (runtime, locks.expect("the options are in range"))
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn done<T, F: Future<Output = Result<T>> + ?Sized>(future: Pin<&mut F>) -> T {
    match poll(future) {
        Poll::Ready(result) => result.expect("nothing goes wrong"),
        Poll::Pending => panic!("it is answered at once"),
    }
}
