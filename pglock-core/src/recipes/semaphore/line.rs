//! The line of the callers of one process, of which the first asks the server.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};

use tokio::sync::{Mutex, MutexGuard, watch};

/// Callers of this process, in order of arrival.
#[derive(Debug, Default)]
pub(super) struct Line {
    first: Mutex<Leaving>,
    /// Whether the first one waits for permits, so that those who would not wait are refused.
    waits: watch::Sender<bool>,
    /// Whether the server has said to the first one that permits are lacking.
    refused: AtomicBool,
}

/// The first in line.
pub(super) type First<'a> = MutexGuard<'a, Leaving>;

/// What the last one in front of the permits gave back, until the server has it: before that, its
/// turn might pass to the next one here, past other processes that wait.
#[derive(Default)]
pub(super) struct Leaving(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

/// As long as this exists, the first in line waits.
pub(super) struct Waiting<'a>(&'a Line);

impl Line {
    /// Waits until those who came before have been served.
    pub(super) async fn join(&self) -> First<'_> {
        let mut first = self.first.lock().await;
        self.note_refused(false);
        first.has_left().await;
        first
    }

    /// As [`join`](Self::join), unless somebody in the line waits for permits.
    pub(super) async fn join_unless_waiting(&self) -> Option<First<'_>> {
        let mut waits = self.waits.subscribe();
        tokio::select! {
            biased;
            _ = waits.wait_for(|waits| *waits) => None,
            first = self.join() => Some(first),
        }
    }

    /// What the server has answered to the first in line.
    pub(super) fn note_refused(&self, refused: bool) {
        self.refused.store(refused, Ordering::Relaxed);
    }

    pub(super) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// The first in line waits from now on.
    pub(super) fn wait(&self) -> Waiting<'_> {
        self.waits.send_replace(true);
        Waiting(self)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waits.send_replace(false);
    }
}

impl Leaving {
    /// Begins a release that the next one waits for.
    pub(super) fn leave(&mut self, release: impl Future<Output = ()> + Send + 'static) {
        let mut release: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(release);
        let is_done = release.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
        self.0 = (!is_done).then_some(release);
    }

    async fn has_left(&mut self) {
        if let Some(release) = &mut self.0 {
            release.await;
            self.0 = None;
        }
    }
}

impl fmt::Debug for Leaving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Leaving").field(&self.0.is_some()).finish()
    }
}
