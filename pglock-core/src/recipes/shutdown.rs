//! The end that the application wants for a recipe.

use std::pin::Pin;
use std::task::Poll;

/// The shutdown that the application wants. It may complete while it is not awaited.
pub(super) struct Shutdown<'a, S> {
    signal: Pin<&'a mut S>,
    has_come: bool,
}

impl<'a, S: Future<Output = ()>> Shutdown<'a, S> {
    pub(super) fn new(signal: Pin<&'a mut S>) -> Self {
        Self { signal, has_come: false }
    }

    pub(super) async fn wait(&mut self) {
        std::future::poll_fn(|cx| {
            if !self.has_come {
                self.has_come = self.signal.as_mut().poll(cx).is_ready();
            }
            if self.has_come { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// The result of the future, or `None` if the shutdown comes first.
    pub(super) async fn or<F: Future>(&mut self, future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            () = self.wait() => None,
            output = future => Some(output),
        }
    }
}
