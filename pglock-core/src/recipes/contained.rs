//! Contains panics: the application's work may panic, which ends that work and nothing else.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A future that catches the panics of another one, when that is made, polled or dropped.
pub(super) struct Contained<W> {
    work: Option<Pin<Box<W>>>,
    /// The panic of work that could not even be made.
    panic: Option<String>,
}

impl<W> Contained<W> {
    pub(super) fn new(make: impl FnOnce() -> W) -> Self {
        match catch_unwind(AssertUnwindSafe(|| Box::pin(make()))) {
            Ok(work) => Self { work: Some(work), panic: None },
            Err(panic) => Self { work: None, panic: Some(text(panic)) },
        }
    }

    /// Drops the work. If that panics, returns the text of the panic.
    pub(super) fn end(&mut self) -> Option<String> {
        let work = self.work.take();
        catch_unwind(AssertUnwindSafe(|| drop(work))).err().map(text)
    }
}

impl<W: Future> Future for Contained<W> {
    /// The text of the panic, as an error.
    type Output = Result<W::Output, String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = &mut self.work else {
            return self.panic.take().map_or(Poll::Pending, |panic| Poll::Ready(Err(panic)));
        };
        let output = match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(poll) => Ok(ready!(poll)),
            Err(panic) => Err(text(panic)),
        };
        // Work that has panicked must not be polled again.
        let dropped = self.end();
        Poll::Ready(output.and_then(|output| dropped.map_or(Ok(output), Err)))
    }
}

impl<W> Drop for Contained<W> {
    fn drop(&mut self) {
        self.end();
    }
}

fn text(panic: Box<dyn Any + Send>) -> String {
    let text = match panic.downcast_ref::<&str>() {
        Some(text) => Some((*text).to_owned()),
        None => panic.downcast_ref::<String>().cloned(),
    };
    // Dropping it might panic, too.
    std::mem::forget(panic);
    text.unwrap_or_else(|| "a value that is no text".to_owned())
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn, ready};
    use std::panic::panic_any;
    use std::task::Waker;

    use super::*;

    struct PanicsWhenDropped(&'static str);

    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            panic_any(self.0);
        }
    }

    fn poll<W: Future>(work: &mut Contained<W>) -> Poll<Result<W::Output, String>> {
        Pin::new(work).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn output_is_passed_on_once() {
        let mut work = Contained::new(|| ready(7));
        assert_eq!(poll(&mut work), Poll::Ready(Ok(7)));
        assert_eq!(poll(&mut work), Poll::Pending);
        assert_eq!(work.end(), None);
    }

    #[test]
    fn panics_end_the_work() {
        let number = 7;
        let failed = |text: &str| Poll::Ready(Err(text.to_owned()));
        let mut made = Contained::new(|| -> std::future::Ready<()> { panic!("made {number}") });
        assert_eq!(poll(&mut made), failed("made 7"));
        let mut polled = Contained::new(|| poll_fn(|_| -> Poll<()> { panic!("polled") }));
        assert_eq!(poll(&mut polled), failed("polled"));
        assert_eq!(poll(&mut polled), Poll::Pending);
        let mut done = Contained::new(|| {
            let last = PanicsWhenDropped("done");
            poll_fn(move |_| {
                let _last = &last;
                Poll::Ready(())
            })
        });
        assert_eq!(poll(&mut done), failed("done"));
        let mut other = Contained::new(|| poll_fn(|_| -> Poll<()> { panic_any(7) }));
        assert_eq!(poll(&mut other), failed("a value that is no text"));
    }

    #[test]
    fn panic_in_a_drop_goes_no_further() {
        let make = || async {
            let _last = PanicsWhenDropped("dropped");
            pending::<()>().await;
        };
        let mut work = Contained::new(make);
        assert_eq!(poll(&mut work), Poll::Pending);
        assert_eq!(work.end().as_deref(), Some("dropped"));
        let mut work = Contained::new(make);
        assert_eq!(poll(&mut work), Poll::Pending);
        drop(work);
    }
}
