//! Futures that run at the same time.

use std::future::poll_fn;
use std::task::Poll;

/// Runs all of them in this task, and returns their outputs in the same order.
pub(super) async fn together<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut runs: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    poll_fn(|cx| {
        let mut are_done = true;
        for (future, output) in runs.iter_mut().filter(|(_, output)| output.is_none()) {
            match future.as_mut().poll(cx) {
                Poll::Ready(value) => *output = Some(value),
                Poll::Pending => are_done = false,
            }
        }
        if are_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    runs.into_iter().filter_map(|(_, output)| output).collect()
}
