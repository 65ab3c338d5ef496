//! Timers for code that may run on any executor: the engine thread keeps them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::engine::thread_runtime;
use crate::error::Result;

/// Completes when its time has passed. It is a task of the engine thread, so that a panic of a
/// waker does not reach that thread.
pub(crate) struct Sleep(JoinHandle<()>);

/// # Errors
///
/// [`NoRuntime`](crate::ErrorKind::NoRuntime) if the system refuses the engine thread.
pub(crate) fn sleep(time: Duration) -> Result<Sleep> {
    Ok(Sleep(thread_runtime()?.spawn(async move { tokio::time::sleep(time).await })))
}

/// The result of the future, or `None` if the time is over first.
///
/// # Errors
///
/// The same as for [`sleep`].
pub(crate) async fn timeout<F: Future>(time: Duration, future: F) -> Result<Option<F::Output>> {
    let sleep = sleep(time)?;
    Ok(tokio::select! {
        biased;
        output = future => Some(output),
        () = sleep => None,
    })
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // The task neither panics nor is aborted before this is dropped.
        let _ = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(())
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::mpsc::{Sender, channel};
    use std::task::{Wake, Waker};
    use std::thread;
    use std::time::Instant;

    use super::*;

    /// Wakes the waiting thread, and panics.
    struct Panicky(Sender<()>);

    impl Wake for Panicky {
        fn wake(self: Arc<Self>) {
            self.0.send(()).unwrap();
            panic!("a waker that panics");
        }
    }

    /// Needs no runtime.
    fn block_on<F: Future>(future: F) -> F::Output {
        let mut future = pin!(future);
        loop {
            let (sender, woken) = channel();
            let waker = Waker::from(Arc::new(Panicky(sender)));
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            woken.recv().unwrap();
        }
    }

    #[test]
    fn sleeps_end_on_any_executor_whatever_its_wakers_do() {
        let time = Duration::from_millis(3);
        for _ in 0..3 {
            let begin = Instant::now();
            block_on(sleep(time).unwrap());
            assert!(begin.elapsed() >= time);
        }
        assert_eq!(block_on(timeout(time, pending::<()>())).unwrap(), None);
        assert_eq!(block_on(timeout(Duration::MAX, async { 7 })).unwrap(), Some(7));
        assert!(!thread::panicking());
    }
}
