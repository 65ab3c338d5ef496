//! Waits on record, which the watch searches for deadlocks.

mod watch;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use self::watch::Watch;
use super::Client;
use crate::engine::machine::event::Patience;
use crate::engine::runtime::tasks::{OnDrop, spawn};
use crate::engine::runtime::thread::{self, catch_panic};
use crate::error::{Error, Result};
use crate::key::LockKey;
use crate::owner::{Owner, Scope};

/// A wait for a lock, which is on record while it is pending and its caller holds something. Fails
/// if it is part of a deadlock and gives up then.
#[must_use = "nothing happens before the first poll"]
pub(crate) struct Watched<'a, F> {
    client: &'a Arc<Client>,
    wait: F,
    key: LockKey,
    /// The dedicated session that waits, if one does.
    session: Option<i32>,
    entry: Entry,
}

/// Whether a wait is on record, and where.
#[derive(Clone, Copy)]
enum Entry {
    /// There is to be none.
    Never,
    /// It has not been pending.
    NotYet,
    At {
        place: usize,
        gives_up: bool,
    },
}

impl<'a, F> Watched<'a, F> {
    pub(super) fn new(client: &'a Arc<Client>, key: LockKey, patience: Patience, wait: F) -> Self {
        let entry = if patience == Patience::Wait { Entry::NotYet } else { Entry::Never };
        Self { client, wait, key, session: None, entry }
    }

    fn enter(&self, cx: &Context<'_>) -> Entry {
        let scope = Scope::current();
        let Scope { gives_up, waits_for_any, .. } = scope;
        // Whoever keeps one of the keys does not keep the caller from getting another one.
        if waits_for_any {
            return Entry::Never;
        }
        let owner = match self.session {
            Some(pid) => Owner::in_session(pid),
            None => Owner::within(scope),
        };
        let waker = || gives_up.then(|| cx.waker().clone());
        let Some((place, starts)) = self.client.shared.waits().wait(self.key, owner, waker) else {
            return Entry::Never;
        };
        if starts {
            self.client.start_watch();
        }
        Entry::At { place, gives_up }
    }
}

impl<T, F: Future<Output = Result<T>> + Unpin> Future for Watched<'_, F> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        if let Poll::Ready(result) = Pin::new(&mut self.wait).poll(cx) {
            return Poll::Ready(result);
        }
        match self.entry {
            Entry::NotYet => self.entry = self.enter(cx),
            Entry::At { place, gives_up: true } => {
                let waker = cx.waker().clone();
                let (deadlock, unused) = self.client.shared.waits().verdict(place, waker);
                catch_panic(|| drop(unused));
                if let Some(deadlock) = deadlock {
                    return Poll::Ready(Err(Error::deadlock(&deadlock)));
                }
            }
            Entry::At { .. } | Entry::Never => {}
        }
        Poll::Pending
    }
}

impl<F> Drop for Watched<'_, F> {
    fn drop(&mut self) {
        if let Entry::At { place, .. } = self.entry {
            let waker = self.client.shared.waits().leave(place);
            catch_panic(|| drop(waker));
        }
    }
}

impl Client {
    /// A wait of a dedicated session.
    pub(crate) fn watch_session<F>(
        self: &Arc<Self>,
        key: LockKey,
        session: Option<i32>,
        wait: F,
    ) -> Watched<'_, F> {
        Watched { client: self, wait, key, session, entry: Entry::NotYet }
    }

    fn start_watch(self: &Arc<Self>) {
        let Ok(thread) = thread::runtime() else {
            return self.shared.waits().unwatched();
        };
        let watch = Watch::new(self);
        // Made here, so that it also acts if the task is dropped before it starts.
        let gone = OnDrop(Some({
            let shared = self.shared.clone();
            move || shared.waits().unwatched()
        }));
        spawn(thread, async move {
            let gone = gone;
            if watch.run().await {
                gone.disarm();
            }
        });
    }
}
