//! Blocking calls: a thread waits for any future of this library.
//!
//! With [`Wait`] in scope, write `.wait()` where the other examples write `.await`:
//!
//! ```
//! use pglock_core::blocking::Wait;
//! use pglock_core::{Locks, Result};
//!
//! /// False if another process is building the report.
//! fn build_report(locks: &Locks) -> Result<bool> {
//!     let Some(guard) = locks.rwlock("reports/daily").try_write().wait()? else {
//!         return Ok(false);
//!     };
//!     for chapter in 1..=10 {
//!         if !guard.is_held() {
//!             break; // `release` reports the loss
//!         }
//!         println!("chapter {chapter}");
//!     }
//!     guard.release().wait()?;
//!     Ok(true)
//! }
//! ```
//!
//! Locks, guards, sets, dedicated sessions and recipes are the same types as in tasks, on every
//! backend. Threads and tasks can share a manager: they wait in the same queues, and can pass
//! guards to each other. The program needs no runtime, because the engine runs on a thread of its
//! own.
//!
//! # What differs from tasks
//!
//! * **Nothing can stop a thread.** Ask [`is_held`](crate::WriteGuard::is_held) between the steps
//!   of the work, or set a flag in [`on_loss`](crate::WriteGuard::on_loss). `protect`, jobs,
//!   elections and `run_exclusively` run their work on the thread that waits. If the work blocks,
//!   they notice a loss or a shutdown only after it has returned.
//! * **A wait cannot be dropped.** It ends with its result, with its timeout, or when another
//!   thread closes the manager.
//! * **Some things need a task.** `lost`, `watch` and `observe` return no `Result`: use `on_loss`,
//!   and ask for the [`role`](crate::recipes::election::Election::role). Synchronous clients have
//!   no [`TransactionLocks`](crate::TransactionLocks), so a guard cannot fence their transactions.
//!   But any client can store and compare a [`FencingToken`](crate::FencingToken).
//!   `pglock_sqlx::migrate` needs a runtime, as sqlx does.
//!
//! # Where to call it
//!
//! Call it on any thread that runs no tasks; in a runtime, in `spawn_blocking` or `block_in_place`.
//! In a task of tokio, [`wait`](Wait::wait) fails at once with
//! [`BlockingInTask`](crate::ErrorKind::BlockingInTask), even if the lock is free. Among the tasks
//! that this thread cannot run meanwhile may be the one that holds the lock, or the engine itself.
//!
//! It does not recognize the tasks of other executors, or tasks in
//! [`unconstrained`](tokio::task::unconstrained): do not block those. A runtime that you name by
//! [`LocksBuilder::runtime`](crate::LocksBuilder::runtime) must run on other threads.
//!
//! # Jobs and elections
//!
//! ```
//! use pglock_core::blocking::Wait;
//! use pglock_core::Result;
//! use pglock_core::recipes::schedule::Job;
//! use tokio::sync::oneshot;
//!
//! /// Runs the job on this thread, until another thread sends or drops the other half of `stop`.
//! fn run(job: &Job, stop: oneshot::Receiver<()>) -> Result<()> {
//!     let shutdown = async {
//!         let _ = stop.await;
//!     };
//!     let work = async |_turn| build_report();
//!     job.run(shutdown, work).wait()
//! }
//!
//! fn build_report() -> std::io::Result<()> {
//!     Ok(()) // … may block …
//! }
//! ```

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{self, Context, Poll, Waker};
use std::thread::{self, Thread};

use tokio::runtime::Handle;
use tokio::task::coop;

use crate::error::{Error, Result};
use crate::owner::Scope;

/// Waits for a future by blocking the thread: see [the module](self).
///
/// Every future that returns a `Result` implements it, if its error is an [`Error`] or converts to
/// one.
pub trait Wait<T> {
    /// Blocks this thread until the future has returned.
    ///
    /// Futures of this library need no runtime. Work of the application that uses the timers or
    /// sockets of tokio does: call [`Handle::enter`](tokio::runtime::Handle::enter) first.
    ///
    /// # Errors
    ///
    /// [`BlockingInTask`](crate::ErrorKind::BlockingInTask) in a task of tokio: the call drops the
    /// future, which releases a guard in it. Otherwise the error of the future, as an [`Error`]: a
    /// [`Refused`](crate::Refused) upgrade drops its guard.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::thread;
    /// use std::time::Duration;
    ///
    /// use pglock_core::blocking::Wait;
    /// use pglock_core::{Locks, Result};
    ///
    /// # fn example(locks: &Locks) -> Result<()> {
    /// let encoders = locks.semaphore("encoders", 8)?;
    /// let worker = thread::spawn(move || {
    ///     let permit = encoders.try_acquire_for(Duration::from_secs(60)).wait()?;
    ///     // … encode a video …
    ///     permit.release().wait()
    /// });
    /// worker.join().expect("the worker does not panic")
    /// # }
    /// ```
    fn wait(self) -> Result<T>;
}

impl<F, T, E> Wait<T> for F
where
    F: Future<Output = Result<T, E>>,
    E: Into<Error>,
{
    fn wait(self) -> Result<T> {
        if is_in_task() {
            return Err(Error::blocking_in_task());
        }
        block_on(self).map_err(Into::into)
    }
}

/// More polls than any budget allows. tokio's is 128.
const MANY: u32 = 512;

/// Whether tokio is polling a task on this thread, or the future of its `block_on`: only these have
/// a budget that ends. Leaves the budget as it is.
fn is_in_task() -> bool {
    if Handle::try_current().is_err() {
        return false;
    }
    let mut cx = Context::from_waker(Waker::noop());
    // Restores the budget when it is dropped.
    let Poll::Ready(_restore) = coop::poll_proceed(&mut cx) else { return true };
    (1..MANY).any(|_| match coop::poll_proceed(&mut cx) {
        Poll::Ready(proceed) => {
            proceed.made_progress();
            false
        }
        Poll::Pending => true,
    })
}

/// Wakes a thread that is blocked.
struct Unpark {
    thread: Thread,
    /// Since the last poll. The token of `park` alone is not enough: a wait inside the future may
    /// consume it.
    is_woken: AtomicBool,
}

impl task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let unpark = Arc::new(Unpark { thread: thread::current(), is_woken: AtomicBool::new(false) });
    let waker = Waker::from(unpark.clone());
    let mut future = pin!(future);
    loop {
        let mut cx = Context::from_waker(&waker);
        if let Poll::Ready(output) = Scope::of_thread().poll(future.as_mut(), &mut cx) {
            return output;
        }
        while !unpark.is_woken.swap(false, Ordering::Acquire) {
            thread::park();
        }
    }
}
