//! How dedicated sessions begin, and how their callers give up.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Client, Dedicated};
use crate::driver::Holding;
use crate::engine::dedicated::{Patience, Place};
use crate::engine::runtime::tasks::CLOSE_TIMEOUT;
use crate::engine::runtime::tenure::Keeper;
use crate::engine::runtime::thread;
use crate::error::{Error, Result};

/// How much longer than the time of a caller the server may take to report that the time is over.
const GRACE: Duration = Duration::from_millis(250);

impl Client {
    /// Starts a session. What the receiver gets is whether it could be opened.
    pub(crate) fn start_session(&self) -> Result<(Arc<Dedicated>, oneshot::Receiver<Result<()>>)> {
        let thread = thread::runtime()?;
        let session = Dedicated::new(&self.shared, &self.settings, &self.sessions);
        self.sessions.add(&session)?;
        let (opened, is_open) = oneshot::channel();
        let runtime = self.settings.runtime.as_ref().unwrap_or(thread);
        self.driver.clone().start_session(&session, runtime, opened);
        Ok((session, is_open))
    }

    /// Waits for the lock in the session, up to this time. If that is zero, this takes as long as a
    /// try does.
    pub(crate) async fn acquire_within(
        &self,
        session: &Dedicated,
        lock: Holding,
        timeout: Duration,
    ) -> Result<Option<Place>> {
        // Which keeps the time if the server does not answer.
        self.ensure_manager()?;
        let end = session.now() + timeout;
        let acquire = session.acquire(lock, Patience::Until(end));
        if timeout.is_zero() {
            return acquire.await;
        }
        let acquired = self.within(timeout.saturating_add(GRACE), acquire).await;
        acquired.unwrap_or_else(|| Err(Error::unanswered()))
    }

    /// Closes the session, or drops its connection if that takes too long.
    pub(crate) async fn close_session(&self, session: &Dedicated) {
        session.end(Error::session_closed());
        if self.within(CLOSE_TIMEOUT, session.until_finished()).await.is_none() {
            session.abort();
        }
    }
}
