//! The line of a process's callers, the first of which asks the server.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};

use tokio::sync::{Mutex, MutexGuard, watch};

/// Callers of this process, in order of arrival.
#[derive(Debug, Default)]
pub(super) struct Line {
    first: Mutex<Leaving>,
    /// Whether the first one waits for permits, so that tries are refused.
    waits: watch::Sender<bool>,
    /// Whether the first one knows from the server that permits are lacking.
    refused: AtomicBool,
}

/// The first in line.
pub(super) type First<'a> = MutexGuard<'a, Leaving>;

/// The release of the previous caller at the front, until the server has confirmed it. Before that,
/// the engine might pass the turnstile to the next caller of this process, past other waiting
/// processes.
#[derive(Default)]
pub(super) struct Leaving(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

/// While this exists, the first in line waits.
pub(super) struct Waiting<'a>(&'a Line);

impl Line {
    /// Waits until the callers before it have been served.
    pub(super) async fn join(&self) -> First<'_> {
        let mut first = self.first.lock().await;
        self.note_refused(false);
        first.has_left().await;
        first
    }

    /// The same as [`join`](Self::join), unless a caller in line waits for permits.
    pub(super) async fn join_unless_waiting(&self) -> Option<First<'_>> {
        let mut waits = self.waits.subscribe();
        tokio::select! {
            biased;
            _ = waits.wait_for(|waits| *waits) => None,
            first = self.join() => Some(first),
        }
    }

    /// Records the server's answer to the first in line.
    pub(super) fn note_refused(&self, refused: bool) {
        self.refused.store(refused, Ordering::Relaxed);
    }

    pub(super) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// Marks the first in line as waiting.
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
    /// Begins a release that the next caller waits for.
    pub(super) fn leave(&mut self, release: impl Future<Output = ()> + Send + 'static) {
        let mut release: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(release);
        let is_done = release.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
        self.0 = (!is_done).then_some(release);
    }

    /// Waits for that release.
    pub(super) async fn has_left(&mut self) {
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
