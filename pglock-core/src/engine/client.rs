//! What lock handles and guards do with the engine.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::event::{Event, HoldId, Patience, WaiterId};
use super::life::Life;
use super::limits::Limits;
use super::shared::{Reply, Shared};
use super::stats::Stats;
use super::tasks::{Settings, start_manager};
use crate::driver::Driver;
use crate::error::{Error, ErrorKind, Result};
use crate::key::LockKey;
use crate::mode::Mode;

/// How long closing waits for the server before it drops the connections.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The engine as its users hold it; when the last of them is gone, it closes.
pub(crate) struct Client {
    shared: Arc<Shared>,
    start_manager: Box<StartManager>,
}

/// Starts the manager's task; hides the type of the driver.
type StartManager = dyn Fn(&Arc<Shared>) + Send + Sync;

impl Client {
    pub(crate) fn new<D: Driver>(driver: D, limits: Limits, settings: Settings, seed: u64) -> Self {
        let (driver, settings) = (Arc::new(driver), Arc::new(settings));
        Self {
            shared: Arc::new(Shared::new(limits, seed)),
            start_manager: Box::new(move |shared| start_manager(shared, &driver, &settings)),
        }
    }

    /// `None`: the lock is busy, and the caller would not wait.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        key: LockKey,
        mode: Mode,
        patience: Patience,
    ) -> Result<Option<Held>> {
        loop {
            self.ensure_manager()?;
            let waiter = self.shared.ask(|waiter| Event::Acquire { waiter, key, mode, patience });
            return match (Asked { client: self, key, waiter: Some(waiter) }).await {
                Reply::Granted { hold, life } => {
                    let held = Held { client: self.clone(), life, key, mode, hold: Some(hold) };
                    // The session has ended or run out before the caller could look: nobody has believed in this grant.
                    if !held.is_held() {
                        continue;
                    }
                    Ok(Some(held))
                }
                Reply::Busy | Reply::Released => Ok(None),
                Reply::Failed(error) => Err(error),
            };
        }
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
    mode: Mode,
    hold: Option<HoldId>,
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

    pub(crate) async fn release(mut self) -> Result<()> {
        let Some(hold) = self.hold.take() else {
            return Ok(());
        };
        let (client, key) = (&self.client, self.key);
        let confirm =
            client.shared.ask(|waiter| Event::Release { key, hold, confirm: Some(waiter) });
        match (Asked { client, key, waiter: Some(confirm) }).await {
            Reply::Failed(error) => Err(error),
            Reply::Released | Reply::Busy | Reply::Granted { .. } => Ok(()),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take() {
            self.client.shared.step(Event::Release { key: self.key, hold, confirm: None });
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("key", &self.key)
            .field("mode", &self.mode)
            .field("backend_pid", &self.life.pid())
            .field("is_held", &self.is_held())
            .finish()
    }
}

/// Awaits the answer of the machine.
struct Asked<'a> {
    client: &'a Arc<Client>,
    key: LockKey,
    waiter: Option<WaiterId>,
}

impl Future for Asked<'_> {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        let Some(waiter) = self.waiter else {
            return Poll::Pending;
        };
        let reply = ready!(self.client.shared.poll_reply(waiter, cx));
        self.waiter = None;
        Poll::Ready(reply)
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter else { return };
        let abandon = Event::Abandon { waiter, key: self.key };
        if let Some(Reply::Granted { hold, .. }) = self.client.shared.forget(waiter, abandon) {
            let release = Event::Release { key: self.key, hold, confirm: None };
            self.client.shared.step(release);
        }
    }
}
