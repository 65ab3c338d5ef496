//! What lock handles and guards do with the engine.

mod checking;
#[cfg(all(test, pglock_loom))]
mod interleavings;

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::task::coop::consume_budget;

use super::event::{Event, HoldId, Patience, WaiterId};
use super::life::{Life, ListenerId, OnLoss};
use super::limits::Limits;
use super::shared::{Reply, Shared};
use super::stats::Stats;
use super::tasks::{CLOSE_TIMEOUT, Settings, start_manager};
use crate::driver::Driver;
use crate::error::{Error, ErrorKind, Result};
use crate::key::LockKey;
use crate::looking::LockEntry;
use crate::mode::Mode;
use crate::names::{Name, Names};

/// The engine as its users hold it; when the last of them is gone, it closes.
pub(crate) struct Client {
    shared: Arc<Shared>,
    names: Arc<Names>,
    start_manager: Box<StartManager>,
}

/// Starts the manager's task; hides the type of the driver.
type StartManager = dyn Fn(&Arc<Shared>) + Send + Sync;

impl Client {
    pub(crate) fn new<D: Driver>(driver: D, limits: Limits, settings: Settings, seed: u64) -> Self {
        let (driver, settings) = (Arc::new(driver), Arc::new(settings));
        Self {
            shared: Arc::new(Shared::new(limits, seed)),
            names: Arc::default(),
            start_manager: Box::new(move |shared| start_manager(shared, &driver, &settings)),
        }
    }

    pub(crate) fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// `None`: the lock is busy, and the caller would not wait.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        key: LockKey,
        name: Option<&Arc<Name>>,
        mode: Mode,
        patience: Patience,
    ) -> Result<Option<Held>> {
        loop {
            self.ensure_manager()?;
            // A lock that is answered at once must not keep the other tasks of this thread from
            // their turn.
            consume_budget().await;
            let event = |waiter| Event::Acquire { waiter, key, mode, patience };
            return match Asked::new(self, Some(key), event).await {
                Reply::Granted { hold, life } => {
                    let client = self.clone();
                    let name = name.cloned();
                    let listener = OnceLock::new();
                    let held = Held { client, life, key, name, mode, hold: Some(hold), listener };
                    // The session has ended or run out before the caller could look: nobody has
                    // believed in this grant.
                    if !held.is_held() {
                        continue;
                    }
                    Ok(Some(held))
                }
                Reply::Busy | Reply::Released | Reply::Seen(_) | Reply::Checked => Ok(None),
                Reply::Failed(error) => Err(*error),
            };
        }
    }

    /// Who holds and awaits this key, or any.
    pub(crate) async fn look(self: &Arc<Self>, key: Option<LockKey>) -> Result<Vec<LockEntry>> {
        self.ensure_manager()?;
        let event = |waiter| Event::Look { waiter, key };
        let mut locks = match Asked::new(self, None, event).await {
            Reply::Seen(locks) => locks,
            Reply::Failed(error) => return Err(*error),
            Reply::Granted { .. } | Reply::Busy | Reply::Released | Reply::Checked => Vec::new(),
        };
        for lock in &mut locks {
            lock.name = self.names.get(lock.key);
        }
        Ok(locks)
    }

    pub(crate) async fn close(&self) -> Result<()> {
        self.shared.step(Event::Close);
        self.ensure_manager()?;
        if tokio::time::timeout(CLOSE_TIMEOUT, self.shared.finished()).await.is_err() {
            self.shared.abort_all();
        }
        Ok(())
    }

    pub(crate) fn stats(&self) -> Stats {
        self.shared.stats()
    }

    pub(crate) fn ensure_manager(&self) -> Result<()> {
        if self.shared.has_manager() {
            return Ok(());
        }
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::new(
                ErrorKind::NoRuntime,
                "locks need a tokio runtime: call this from within one",
            ));
        }
        if self.shared.claim_manager() {
            (self.start_manager)(&self.shared);
        }
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.step(Event::Close);
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

/// A lock that the engine granted; gives it back when dropped.
pub(crate) struct Held {
    client: Arc<Client>,
    life: Arc<Life>,
    key: LockKey,
    /// Kept, so that the name is known as long as the lock is held.
    name: Option<Arc<Name>>,
    mode: Mode,
    hold: Option<HoldId>,
    /// Made when something is to be done on a loss.
    listener: OnceLock<ListenerId>,
}

impl Held {
    pub(crate) fn key(&self) -> LockKey {
        self.key
    }

    pub(crate) fn is_held(&self) -> bool {
        let shared = &self.client.shared;
        if !self.life.has_ended() && !self.life.is_confirmed(shared.clock().now()) {
            // If the lease is over, the session ends here and now, and for all of its guards.
            shared.step(Event::Tick);
        }
        !self.life.has_ended()
    }

    pub(crate) async fn lost(&self) {
        if self.is_held() {
            self.life.ended().await;
        }
    }

    /// What a holder is told that has lost its lock.
    pub(crate) fn loss(&self) -> Error {
        let error = match self.life.reason() {
            Some(reason) => Error::lost_by(reason.clone()),
            None => Error::lost(),
        };
        self.about(error)
    }

    pub(crate) fn on_loss(&self, on_loss: OnLoss) {
        // An end that nobody has noticed yet is noticed now.
        self.is_held();
        self.life.listen(*self.listener.get_or_init(|| self.life.new_listener()), on_loss);
    }

    fn about(&self, error: Error) -> Error {
        error.about(self.key, self.name.as_ref())
    }

    /// Once; a second time does nothing.
    pub(crate) async fn release(&mut self) -> Result<()> {
        let (client, key, held) = (&self.client, self.key, &mut self.hold);
        let Some(hold) = *held else {
            return Ok(());
        };
        let event = |waiter| {
            *held = None;
            Event::Release { key, hold, confirm: Some(waiter) }
        };
        match Asked::new(client, Some(key), event).await {
            Reply::Failed(error) if error.kind() == ErrorKind::Lost => Err(self.loss()),
            Reply::Failed(error) => Err(self.about(*error)),
            Reply::Released
            | Reply::Busy
            | Reply::Seen(_)
            | Reply::Checked
            | Reply::Granted { .. } => Ok(()),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // What comes after a release is no loss.
        if let Some(listener) = self.listener.get() {
            self.life.stop_listening(*listener);
        }
        if let Some(hold) = self.hold.take()
            && !cfg!(pglock_seed_bug = "keep_dropped")
        {
            self.client.shared.step(Event::Release { key: self.key, hold, confirm: None });
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("key", &self.key)
            .field("name", &self.name)
            .field("mode", &self.mode)
            .field("backend_pid", &self.life.pid())
            .field("is_held", &self.is_held())
            .finish()
    }
}

/// Asks the machine, and awaits its answer.
struct Asked<'a, F> {
    client: &'a Arc<Client>,
    /// What is wanted, or `None` for a look.
    key: Option<LockKey>,
    progress: Progress<F>,
}

enum Progress<F> {
    /// Asked when it is polled, so that the machine knows at once whom to wake.
    Unasked(F),
    Asked(WaiterId),
    Answered,
}

impl<'a, F: FnOnce(WaiterId) -> Event> Asked<'a, F> {
    fn new(client: &'a Arc<Client>, key: Option<LockKey>, event: F) -> Self {
        Self { client, key, progress: Progress::Unasked(event) }
    }
}

impl<F: FnOnce(WaiterId) -> Event + Unpin> Future for Asked<'_, F> {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        let shared = &self.client.shared;
        let reply = match std::mem::replace(&mut self.progress, Progress::Answered) {
            Progress::Unasked(event) => shared.ask(event, cx.waker()),
            Progress::Asked(waiter) => shared.poll_reply(waiter, cx.waker()),
            Progress::Answered => return Poll::Pending,
        };
        match reply {
            Ok(reply) => Poll::Ready(reply),
            Err(waiter) => {
                self.progress = Progress::Asked(waiter);
                Poll::Pending
            }
        }
    }
}

impl<F> Drop for Asked<'_, F> {
    fn drop(&mut self) {
        let Progress::Asked(waiter) = self.progress else {
            return;
        };
        let shared = &self.client.shared;
        let Some(key) = self.key else {
            shared.forget(waiter, Event::LookAway { waiter });
            return;
        };
        if let Some(Reply::Granted { hold, .. }) =
            shared.forget(waiter, Event::Abandon { waiter, key })
        {
            shared.step(Event::Release { key, hold, confirm: None });
        }
    }
}
