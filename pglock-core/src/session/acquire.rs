//! Takes a lock in a dedicated session, with the name of the lock in errors, log and metrics.

use std::pin::pin;
use std::time::Duration;

use tracing::Instrument;

use super::{DedicatedSession, Patience};
use crate::driver::Holding;
use crate::engine::DedicatedHold;
use crate::error::{Error, Result};
use crate::key::NamedKey;
use crate::key::well_known::warn_of_tool;
use crate::mode::Mode;
use crate::rwlock::{acquire_span, log_acquired};

/// How an acquire waits.
enum Wait {
    Without(Patience),
    UpTo(Duration),
}

impl DedicatedSession {
    pub(super) async fn wait(
        &self,
        key: NamedKey,
        mode: Mode,
        timeout: Option<Duration>,
    ) -> Result<DedicatedHold> {
        let wait = timeout.map_or(Wait::Without(Patience::Wait), Wait::UpTo);
        // The session answers "busy" only to callers that do not wait.
        self.lock(key, mode, wait).await?.ok_or_else(Error::mismatched_reply)
    }

    pub(super) async fn acquire(
        &self,
        key: NamedKey,
        mode: Mode,
        patience: Patience,
    ) -> Result<Option<DedicatedHold>> {
        self.lock(key, mode, Wait::Without(patience)).await
    }

    async fn lock(&self, key: NamedKey, mode: Mode, wait: Wait) -> Result<Option<DedicatedHold>> {
        warn_of_tool(&key);
        let (key, name) = key.into_parts();
        let name = name.map(|name| self.client.enter(key, &name)).transpose()?;
        let lock = Holding { key, mode };
        let acquire = async {
            let timer = self.client.meters().start_wait(mode);
            let acquired = match wait {
                Wait::Without(Patience::Try) => self.session.acquire(lock, Patience::Try).await,
                Wait::Without(patience) => {
                    let acquire = pin!(self.session.acquire(lock, patience));
                    self.client.watch_session(key, self.session.pid(), acquire).await
                }
                Wait::UpTo(time) => {
                    let acquire = pin!(self.client.acquire_within(&self.session, lock, time));
                    self.client.watch_session(key, self.session.pid(), acquire).await
                }
            };
            log_acquired(&acquired);
            let timer = self.client.meters().end_wait(timer, &acquired);
            let place = acquired.map_err(|error| error.about(key, name.as_ref()));
            place.map(|place| (place, timer))
        };
        let (place, timer) = acquire.instrument(acquire_span(key, name.as_ref(), mode)).await?;
        Ok(place.map(|place| DedicatedHold::new(place, name, timer)))
    }
}
